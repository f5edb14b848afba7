"""The pictures of a finished run: an encoder's features, an experiment's own; one that cannot be drawn costs a line."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxvision as jv
from jaxvision.train import pictures
from tests.marks import slow

pytestmark = pytest.mark.pictures
SOURCE = jv.data.synthetic(24, image_shape=(8, 8, 1), num_classes=3)


class Encoder(nn.Module):
    """The least encoder there is."""

    num_classes: int = 0

    @nn.compact
    def __call__(self, image, *, train=False):
        return nn.Dense(4, name="stem")(image.reshape(len(image), -1))


def experiment_of(**changes) -> jv.train.Experiment:
    encoder = Encoder()
    objective = jv.objectives.supervised(encoder)
    options = {"epochs": 1, "batch_size": 8, "test": SOURCE, "evaluate": jv.evaluate.nearest(SOURCE, k=3)} | changes
    return jv.train.Experiment(encoder, objective, jv.train.sgd(0.01), SOURCE, **options)


@pytest.fixture
def drawn(monkeypatch) -> dict:
    """What each plot is given, by its name; nothing is drawn."""
    found = {}
    for name in ("curves", "filters", "neighbours", "embedding", "top_patches", "gradients"):
        monkeypatch.setattr(jv.plots, name, lambda *given, name=name, **named: found.update({name: (given, named)}))
    return found


def draw(experiment, state, folder, outputs=None, options=jv.train.RunOptions()) -> list[str]:
    """The pictures of a finished run whose model gives these outputs [N, D]; returns the lines that it reports."""
    lines = []
    infer = lambda source: [] if outputs is None else [(outputs, {"label": np.asarray(source.labels)})]  # noqa: E731
    pictures.draw(experiment, options, state, [], infer, folder, lines.append)
    return lines


def test_a_run_draws_features_and_what_the_experiment_asks_for(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: no picture is checked")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: no t-SNE is checked")
    seen = []
    state = jv.train.run(experiment_of(), tmp_path, jv.train.RunOptions(draw=lambda *given: seen.append(given)))
    ((kept, images, folder),) = seen
    assert jax.tree.all(jax.tree.map(np.array_equal, kept.params, state.params)) and kept.opt_state is None
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(kept))
    np.testing.assert_array_equal(images, np.stack([SOURCE[index]["image"] for index in range(8)]) / np.float32(255))
    assert images.dtype == np.float32 and 0 <= images.min() < images.max() <= 1 and folder == tmp_path / "plots"
    assert {path.name for path in folder.iterdir()} == {"curves.png", "tsne.png", "neighbours.png"}
    assert "no picture" not in capsys.readouterr().out


class Convolution(nn.Module):
    """A first convolution with a kernel to draw."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, image, *, train=False):
        return nn.Dense(3)(nn.Conv(4, (3, 3), name="stem")(image).mean((1, 2)))


@pytest.mark.slow
def test_filters_are_drawn_beside_those_that_the_run_began_with(tmp_path, drawn):
    model = Convolution()
    experiment = jv.train.Experiment(model, jv.objectives.supervised(model), jv.train.sgd(0.1), SOURCE, epochs=2, batch_size=8)
    begun = np.array(experiment.initializer().state().params["model"]["stem"]["kernel"])
    broken = dataclasses.replace(experiment, test=SOURCE, evaluate=lambda infer, source: [][0])
    with pytest.raises(IndexError):
        jv.train.run(broken, tmp_path, jv.train.RunOptions(save_every=2))
    state = jv.train.run(dataclasses.replace(broken, evaluate=jv.evaluate.classification), tmp_path)  # goes on where the other stopped
    (now, _), named = drawn["filters"]
    np.testing.assert_array_equal(named["before"], begun)
    np.testing.assert_array_equal(now, state.params["model"]["stem"]["kernel"])
    assert not np.array_equal(now, begun)


def _fails(*given):
    assert (given[-1].parent / "summary.json").is_file(), "the metrics are on disk before anything is drawn"
    raise RuntimeError("no paint\nleft")


def test_a_drawing_that_raises_costs_a_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(jv.plots, "tsne", lambda *given, **options: [][0])
    jv.train.run(experiment_of(), tmp_path, jv.train.RunOptions(draw=_fails))
    printed = capsys.readouterr().out
    assert printed.count("RuntimeError: no paint\n") == 1 and "left" not in printed
    assert printed.count("IndexError: list index out of range\n") == 1
    assert (tmp_path / "plots" / "neighbours.png").is_file() and str(tmp_path) in printed.splitlines()[-1]
    assert json.loads((tmp_path / "summary.json").read_text())["steps"] == 3


def test_curves_that_cannot_be_written_cost_a_line(tmp_path, monkeypatch):
    def full(rows, path):
        raise OSError("no space left on device")

    experiment = experiment_of(test=None)
    monkeypatch.setattr(jv.plots, "curves", full)
    (line,) = draw(experiment, experiment.initializer().state(), tmp_path)
    assert "OSError: no space left on device" in line


@pytest.mark.parametrize("same", [False, True])
def test_no_image_is_its_own_neighbour(tmp_path, drawn, same):
    images, labels = np.arange(12, dtype=np.uint8)[:, None, None, None], np.arange(12) % 3  # one pixel, different in each image
    features = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    features[6] = features[0] if same else features[6]
    source = jv.data.arrays(images, labels, classes=["a", "b", "c"])
    experiment = experiment_of(test=source)
    draw(experiment, experiment.initializer().state(), tmp_path, features)
    (queries, near, _), named = drawn["neighbours"]
    own, near = np.rint(255 * queries.ravel()).astype(int), np.rint(255 * near.reshape(6, 8)).astype(int)
    np.testing.assert_array_equal(own, range(6))
    assert not (near == own[:, None]).any() and all(len(set(row)) == 8 for row in near.tolist())
    np.testing.assert_array_equal(named["neighbour_labels"], labels[near])
    assert not same or near[0, 0] == 6


@pytest.mark.parametrize("count,components", [(64, None), (192, 28)])
def test_a_patch_embedding_is_drawn_by_its_principal_components(tmp_path, drawn, count, components):
    experiment, kernel = experiment_of(test=None), jnp.zeros((4, 4, 3, count))
    state = experiment.initializer().state()._replace(params={"model": {"stem": {"kernel": kernel}}})
    pictures.keep_first_filters(experiment, state, tmp_path)
    draw(experiment, state, tmp_path)
    (now, _), named = drawn["filters"]
    assert (now.shape, named["before"].shape, named["components"]) == (kernel.shape, kernel.shape, components)


class Mapped(nn.Module):
    """An encoder whose middle map is the image, minus the image and twice the image."""

    num_classes: int = 0

    def features(self, image, *, train=False):
        middle = jnp.concatenate([image, -image, 2 * image], axis=-1)
        maps = {"coarse": image[:, ::2, ::2], "middle": middle, "fine": image.repeat(2, axis=1).repeat(2, axis=2)}
        return jv.typing.Features(image.mean((1, 2)), None, maps)

    def __call__(self, image, *, train=False):
        return self.features(image).pooled


def test_channels_are_drawn_by_what_excites_them_in_the_middle_map(tmp_path, drawn):
    experiment = dataclasses.replace(experiment_of(), model=Mapped(), recipe=lambda key, image: 4 * image - 1)
    assert draw(experiment, experiment.initializer().state(), tmp_path) == []
    images = np.stack([SOURCE[index]["image"] for index in range(24)]) / np.float32(255)
    peaks = np.sort(images.max((1, 2, 3)))[::-1][:9]
    (patches, _), named = drawn["top_patches"]
    assert named["names"] == ["middle 2", "middle 0", "middle 1"], "the most excited first"
    np.testing.assert_allclose(named["strengths"][:2], [2 * (4 * peaks - 1), 4 * peaks - 1], rtol=1e-5)
    assert patches.shape == (3, 9, 4, 4, 1) and patches.min() >= 0 and patches.max() <= 1
    stretched = (images - images.min()) / (images.max() - images.min())
    (image, gradients, _), _ = drawn["gradients"]
    np.testing.assert_allclose(image, stretched[0], atol=1e-6)
    (title,) = gradients
    assert title == "middle 2, gradient", "a network without ReLU has no deconvnet"
    np.testing.assert_array_equal(gradients[title], 2.0 * (images[0] == images[0].max()))


@pytest.mark.slow
def test_a_run_of_a_network_with_maps_draws_what_its_channels_look_for(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: no picture is checked")
    source, network = jv.data.synthetic(16, image_shape=(32, 32, 3)), jv.create_model("cifarnet")
    options = {"epochs": 1, "batch_size": 8, "test": source}
    jv.train.run(jv.train.Experiment(network, jv.objectives.supervised(network), jv.train.sgd(0.01), source, **options), tmp_path)
    assert {"top_patches.png", "gradients.png"} <= {path.name for path in (tmp_path / "plots").iterdir()}


@pytest.mark.parametrize("name, expected", [("cifarnet", "deconvnet"), slow("vit_tiny_patch16_224", "gradient")])
def test_the_backward_pass_is_the_deconvnet_s_where_there_is_relu(name, expected, tmp_path, drawn):
    vit = {"image_size": 32, "patch_size": 8} if name.startswith("vit") else {}
    network = jv.create_model(name, num_classes=0, **vit)
    network = network.clone(depth=1) if vit else network
    source = jv.data.synthetic(4, image_shape=(32, 32, 3))
    experiment = dataclasses.replace(experiment_of(), model=network, train=source, test=source)
    variables = jax.jit(network.init)(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    state = experiment.initializer().state()._replace(params={"model": variables["params"]})
    assert draw(experiment, state, tmp_path) == []
    named = drawn["top_patches"][1]
    assert len(named["names"]) == 6 and named["strengths"].shape == (6, 4)
    assert named["names"][0].startswith("tokens" if vit else "stride") and list(drawn["gradients"][0][1])[0].endswith(f", {expected}")

"""Tables over seeds of several runs, plots that runs draw at their end, and the encoder that a comparison evaluates."""

import itertools
import json
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import jaxvision as jv
from experiments import compare_objectives, few_labels, seed_table
from jaxvision.plots import drawers


def test_a_table_over_seeds_has_mean_and_range_in_per_cent():
    lines = seed_table({"simclr": {"knn": [0.5, 0.7, 0.9], "linear": [0.25]}}).splitlines()
    assert lines[1:] == ["simclr  knn: 70.00 (50.00 to 90.00), linear: 25.00 (25.00 to 25.00)"]


def test_few_labels_groups_runs_by_share_and_start(tmp_path, capsys):
    for amount, start, seed in itertools.product(("0.01", "0.1"), ("pretrained", "scratch"), range(3)):
        name = f"{amount}-{start}-{seed}"
        (tmp_path / name).mkdir()
        top1 = float(amount) + 0.5 * (start == "pretrained") + 0.001 * seed
        (tmp_path / name / "summary.json").write_text(json.dumps({"top1": top1}))
    few_labels.tabulate(tmp_path, [])
    figures = json.loads((tmp_path / "summary.json").read_text())
    assert list(figures) == ["1% of the labels", "10% of the labels"]
    np.testing.assert_allclose(figures["10% of the labels"]["pretrained"], [0.6, 0.601, 0.602])
    np.testing.assert_allclose(figures["1% of the labels"]["scratch"], [0.01, 0.011, 0.012])
    assert "scratch: 1.10 (1.00 to 1.20)" in capsys.readouterr().out


def test_reconstructions_are_made_of_normalised_images_in_both_modes(tmp_path):
    image, seen = np.random.default_rng(0).random((2, 8, 8, 3), np.float32), []

    def reconstruct(params, image, *, key, honest):
        jax.debug.callback(lambda given: seen.append((honest, np.asarray(given))), image)
        return image, image, image

    jv.plots.draw_reconstructions(reconstruct, (0.1, 0.2, 0.3), (0.5, 0.25, 0.2))(SimpleNamespace(params={}), image, tmp_path)
    jax.effects_barrier()
    assert {path.name for path in tmp_path.iterdir()} == {"reconstruction_honest.png", "reconstruction_oracle.png"}
    assert [honest for honest, _ in seen] == [True, False]
    np.testing.assert_allclose(seen[0][1], (image - [0.1, 0.2, 0.3]) / [0.5, 0.25, 0.2], rtol=1e-5, atol=1e-6)


def test_only_the_given_modes_are_drawn(tmp_path):
    image = np.zeros((2, 8, 8, 3), np.float32)
    draw = jv.plots.draw_reconstructions(lambda params, image, *, key, honest: (image, image, image), 0.5, 0.5, modes=("honest",))
    draw(SimpleNamespace(params={}), image, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["reconstruction_honest.png"]


@pytest.mark.slow
def test_attention_is_drawn_on_enlarged_images(tmp_path, monkeypatch):
    encoder = jv.create_model("vit_tiny_patch16_224", image_size=32, patch_size=8, num_classes=0).clone(depth=1)
    image = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    variables, drawn = encoder.init(jax.random.key(0), image), []
    monkeypatch.setattr(drawers, "attention", lambda image, maps, path: drawn.append((image.shape, maps.shape, path.name)))
    memory = {"teacher": {"encoder": variables["params"]}}
    draw = jv.plots.draw_attention(partial(jv.models.class_attention, encoder), jv.train.teacher, *jv.augment.IMAGENET, scale=2)
    draw(SimpleNamespace(carry=jv.Carry({}, memory)), image, tmp_path)
    assert drawn == [((64, 64, 3), (3, 8, 8), f"attention_{index}.png") for index in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("method, of", [("simclr", jv.train.variables), ("dino", jv.train.teacher)])
def test_the_encoder_that_the_papers_evaluate_is_evaluated(method, of, tmp_path, monkeypatch):
    """SimCLR's encoder is the one that is trained, DINO's is the teacher; k-NN by hand gives the figure of the table."""
    given = ["--smoke", "--method", method, "--workdir", str(tmp_path / "run")]
    jv.train.main(compare_objectives.config, given)
    monkeypatch.setattr(compare_objectives, "_fine_tuned", lambda *_, **__: 0.5)  # a training of its own
    found = compare_objectives.evaluate(tmp_path / "run", baselines=method == "simclr")
    assert list(found) == ([method, "random", "pixels"] if method == "simclr" else [method])
    experiment, state = jv.train.load(tmp_path / "run")
    few = jv.data.few_labels(experiment.train, 2, seed=0)
    encoder = experiment.model.clone(num_classes=0)
    sides = [jv.evaluate.features(encoder, of(state), source, recipe=experiment.recipe) for source in (few, experiment.test)]
    assert found[method]["knn"] == jv.evaluate.knn(*sides[0], *sides[1], k=1)["top1"]

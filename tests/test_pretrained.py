"""The start of the recipes that evaluate encoders: a weight file or a run, labelled data, their normalisation, the labels that are kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import experiments
import jaxvision as jv
from experiments import few_labels, fine_tune, linear_probe
from tests.marks import slow


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """(weight file of a LeNet-5 for gray images, an .npz of gray images, the network's variables)."""
    folder, random = tmp_path_factory.mktemp("pretrained"), np.random.default_rng(0)
    encoder = jv.create_model("lenet5", num_classes=0)
    variables = encoder.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    jv.weights.write(folder / "lenet.safetensors", jv.weights.to_torch(encoder, variables, layout="sequential"))
    parts = {"train": 40, "test": 20}
    arrays = {f"{part}_images": random.integers(0, 256, (count, 32, 32), np.uint8) for part, count in parts.items()}
    arrays |= {f"{part}_labels": np.arange(count) % 4 for part, count in parts.items()}
    np.savez(folder / "gray.npz", **arrays)
    return folder / "lenet.safetensors", folder / "gray.npz", variables


def test_a_weight_file_of_gray_images_gets_its_own_normalisation(given):
    weights, data, variables = given
    found = experiments.start(None, weights, "lenet5", data, smoke=False, moments="0.13,0.31")
    jax.tree.map(np.testing.assert_array_equal, found.variables, variables)
    image = jnp.full((32, 32, 1), 0.5)
    np.testing.assert_allclose(found.recipe(None, image), (0.5 - 0.13) / 0.31, rtol=1e-6)
    assert experiments.start(None, weights, "lenet5", data, smoke=False, moments="none").recipe is None
    with pytest.raises(ValueError, match="moments"):
        experiments.start(None, weights, "lenet5", data, smoke=False)
    with pytest.raises(ValueError, match="moments.*mnist"):
        experiments.start(None, weights, "lenet5", data, smoke=False, moments="mnist")


OTHER_RECIPES = [slow(recipe) for recipe in (fine_tune, few_labels)]


@pytest.mark.parametrize("recipe", [linear_probe, *OTHER_RECIPES], ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_weight_file_runs_through_every_recipe_that_evaluates(recipe, given, tmp_path):
    weights, data, _ = given
    settings = {"weights": weights, "model": "lenet5", "moments": "none", "data": data, "epochs": 1, "batch_size": 8, "flip": False}
    arguments = [f"--no-{name}" if value is False else f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    jv.train.main(recipe.config, [*arguments, *(["--only=0.5"] if recipe is few_labels else []), "--workdir", str(tmp_path)])
    assert (tmp_path / "summary.json").is_file()
    found = jv.train.load_encoder(tmp_path)
    assert found.model.num_classes == 0 and "head" not in found.variables["params"]
    assert len(found.experiment.train) == (20 if recipe is few_labels else 40)
    assert found.model.apply(found.variables, jnp.zeros((1, 32, 32, 1))).shape == (1, 84)
    for which in ("teacher", "mentor"):  # these recipes keep no teacher
        with pytest.raises(ValueError, match=which):
            jv.train.load_encoder(tmp_path, which=which)


def test_options_of_a_model_follow_its_name(given):
    found = experiments.start(None, given[0], "lenet5:drop_rate=0.5", given[1], smoke=False, moments="none")
    assert found.encoder == jv.create_model("lenet5", num_classes=0, drop_rate=0.5)


@pytest.mark.parametrize(
    "model, complaint",
    [
        ("lenet5:stem", "model.*stem"),
        ("lenet5:foo=1", "model: .*foo"),
        ("vit_tiny_patch16_224:drop_path_rate=1.5", "drop_path_rate"),
    ],
)
def test_a_wrong_model_or_option_is_named(model, complaint, given):
    with pytest.raises(ValueError, match=complaint):
        experiments.start(None, given[0], model, given[1], smoke=False, moments="none")


def test_labels_are_a_share_or_a_number_of_each_class(given):
    train = jv.data.npz(given[1], "train")
    assert experiments.with_labels(train, 1, 0) is train
    assert [len(experiments.with_labels(train, amount, 0)) for amount in (0.5, 3.0)] == [20, 12]
    with pytest.raises(ValueError, match="labels"):
        experiments.with_labels(train, 2.5, 0)


@pytest.mark.parametrize("images", [0, 41])
def test_a_wrong_number_of_images_is_named(images, given):
    from experiments import compare_objectives

    with pytest.raises(ValueError, match=f"images.*{images}"):
        compare_objectives.config(data=given[1], method="simclr", images=images)


def test_the_factor_of_a_layer_is_named():
    with pytest.raises(ValueError, match="layer_rate"):
        jv.train.adamw(1e-3, layer_rate=-1)


def test_labelled_data_of_any_layout_are_read_alike(given, tmp_path):
    """The reader that detects the layout gives the same images as the reader of that layout."""
    from PIL import Image

    train, test = jv.data.labelled(given[1], 32)
    np.testing.assert_array_equal(train[3]["image"], jv.data.npz(given[1], "train")[3]["image"])
    assert (len(train), len(test)) == (40, 20)
    for split, name in (("train", "a"), ("train", "b"), ("val", "a"), ("val", "b")):
        (tmp_path / split / name).mkdir(parents=True)
        Image.new("RGB", (20, 30), (200, 0, 0)).save(tmp_path / split / name / "one.png")
    train, test = jv.data.labelled(tmp_path, 16)
    assert train[0]["image"].shape == (16, 16, 3) and train.classes == ["a", "b"] and len(test) == 2
    with pytest.raises(ValueError, match="data"):
        jv.data.labelled(None, 32)
    with pytest.raises(FileNotFoundError, match="data"):
        jv.data.labelled(tmp_path / "none", 32)

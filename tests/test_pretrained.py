"""What the recipes that judge encoders begin from: a weight file, its images and how they were shown; labels that are kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import experiments
import jaxvision as jv
from experiments import few_labels, fine_tune, linear_probe


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


def test_a_weight_file_of_gray_images_is_judged_as_it_was_shown_them(given):
    weights, data, variables = given
    found = experiments.pretrained(None, weights, "lenet5", data, smoke=False, moments="0.13,0.31")
    jax.tree.map(np.testing.assert_array_equal, found.variables, variables)
    image = jnp.full((32, 32, 1), 0.5)
    np.testing.assert_allclose(found.recipe(None, image), (0.5 - 0.13) / 0.31, rtol=1e-6)
    assert experiments.pretrained(None, weights, "lenet5", data, smoke=False, moments="none").recipe is None
    with pytest.raises(ValueError, match="moments: imagenet's are for 3 channels, the images have 1; expected MEAN,STD such as"):
        experiments.pretrained(None, weights, "lenet5", data, smoke=False)
    with pytest.raises(ValueError, match="moments: found 'mnist', expected imagenet, none, or MEAN,STD"):
        experiments.pretrained(None, weights, "lenet5", data, smoke=False, moments="mnist")


OTHER_RECIPES = [pytest.param(recipe, marks=pytest.mark.slow) for recipe in (fine_tune, few_labels)]


@pytest.mark.parametrize("recipe", [linear_probe, *OTHER_RECIPES], ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_weight_file_runs_through_every_recipe_that_judges(recipe, given, tmp_path):
    weights, data, _ = given
    options = {"only": 0.5} if recipe is few_labels else {}
    experiment = recipe.config(weights=weights, model="lenet5", moments="none", data=data, epochs=1, batch_size=8, flip=False, **options)
    jv.train.run(experiment, tmp_path / "run")
    assert (tmp_path / "run" / "summary.json").is_file()


@pytest.mark.parametrize(
    "model, complaint",
    [
        ("lenet5:stem", "model: found 'stem' in 'lenet5:stem', expected NAME:OPTION=VALUE"),
        ("lenet5:foo=1", "model: .*foo"),
        ("vit_tiny_patch16_224:drop_path_rate=1.5", "drop_path_rate: found 1.5"),
    ],
)
def test_a_model_that_cannot_be_is_named(model, complaint, given):
    with pytest.raises(ValueError, match=complaint):
        experiments.pretrained(None, given[0], model, given[1], smoke=False, moments="none")


def test_options_of_a_model_are_numbers_where_they_look_like_numbers():
    assert experiments._network("vit_tiny_patch16_224:drop_path_rate=0.1,image_size=64").image_size == 64


def test_labels_are_a_share_or_a_number_of_each_class(given):
    train = jv.data.npz(given[1], "train")
    assert experiments.with_labels(train, 1, 0) is train
    assert [len(experiments.with_labels(train, amount, 0)) for amount in (0.5, 3.0)] == [20, 12]
    with pytest.raises(ValueError, match="labels: found 2.5, expected a share of every class up to 1, or a whole number of each"):
        experiments.with_labels(train, 2.5, 0)
    with pytest.raises(ValueError, match="data: found none, expected a folder"):
        experiments.labelled(None, 32)


@pytest.mark.parametrize("images", [0, 41])
def test_more_images_than_there_are_is_named(images, given):
    from experiments import compare_objectives

    with pytest.raises(ValueError, match=f"images: found {images}, expected 1 to 40"):
        compare_objectives.config(data=given[1], method="simclr", images=images)


def test_the_factor_of_a_layer_is_named():
    with pytest.raises(ValueError, match="layer_rate: found -1, expected a factor above 0 and at most 1"):
        jv.train.adamw(1e-3, layer_rate=-1)

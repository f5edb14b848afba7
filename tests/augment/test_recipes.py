"""The named recipes: what they promise about sizes, ranges and chance, and evaluation recipes that travel with weights."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv

KEY = jax.random.key(1)
IMAGE = jax.random.uniform(jax.random.key(0), (60, 90, 3))


@pytest.mark.parametrize(
    "recipe",
    [
        jv.augment.imagenet_train(32),
        jv.augment.three_augment(32),
        jv.augment.three_augment(32, simple_crop=True),
        jv.augment.mae(32),
        jv.augment.imagenet_eval(32, resize_to=36),
        jv.augment.EvalRecipe(32),
    ],
)
def test_image_recipes_give_normalised_squares(recipe):
    found = jax.jit(recipe)(KEY, IMAGE)
    assert found.shape == (32, 32, 3) and found.dtype == jnp.float32
    lowest, highest = (-np.array([0.485, 0.456, 0.406]) + bound for bound in (0, 1))
    std = np.array([0.229, 0.224, 0.225])
    assert (found >= lowest / std - 1e-5).all() and (found <= highest / std + 1e-5).all()


def test_simclr_without_blur_and_colour_is_crop_and_flip():
    batch = {"image": jnp.broadcast_to(IMAGE, (64, *IMAGE.shape))}
    found = jax.jit(jv.augment.simclr(16, strength=0.0, blur=False))(KEY, batch)["views"]  # [64, 2, 16, 16, 3]
    gray = np.ptp(np.asarray(found), axis=-1).max((2, 3)) < 1e-6
    assert 0.08 < gray.mean() < 0.35, "a fifth of the views lose their colour"
    assert found.min() >= 0 and found.max() <= 1


def test_dinos_views_are_blurred_as_often_as_the_paper_says():
    """On noise, blur is what takes the sharp edges away: always in the first view, one time in ten in the second, half in the crops."""
    noise = jax.random.uniform(jax.random.key(2), (200, 40, 40, 1)).repeat(3, -1)
    found = jv.augment.dino(40, crop_size=40, crops=1, global_scale=(1.0, 1.0), local_scale=(1.0, 1.0))
    found = jax.jit(found)(KEY, {"image": noise})
    views = jnp.concatenate([found["views"], found["crops"]], 1)  # [B, 3, h, w, C]
    steps = jnp.abs(jnp.diff(views[..., 0], axis=-1)).mean((2, 3)) * 0.229 / 0.5  # [B, 3]
    sharp = (steps > 0.75 * jnp.quantile(steps, 0.99)).mean(0)
    assert sharp[0] < sharp[2] < sharp[1]


def test_an_evaluation_recipe_survives_json_and_can_be_a_key():
    recipe = jv.augment.EvalRecipe(size=384, crop_fraction=1.0, method="bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    again = jv.augment.EvalRecipe(**json.loads(json.dumps(dataclasses.asdict(recipe))))
    assert again == recipe and hash(again) == hash(recipe) and again != jv.augment.EvalRecipe()


@pytest.mark.parametrize(("size", "fraction", "shorter"), [(224, 0.875, 256), (224, 0.9, 248), (299, 0.95, 314), (224, 224 / 256, 256)])
def test_an_evaluation_recipe_resizes_as_timm_does(size, fraction, shorter):
    image = jax.random.uniform(jax.random.key(3), (330, 400, 3))
    normalise = jv.augment.normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected = jv.augment.chain(jv.augment.resize(shorter, method="bicubic"), jv.augment.center_crop(size), normalise)(None, image)
    np.testing.assert_array_equal(jv.augment.EvalRecipe(size, fraction, "bicubic")(None, image), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size: found 0"),
        ({"crop_fraction": 1.5}, r"crop_fraction: found 1\.5"),
        ({"method": "lanczos"}, "method: found 'lanczos'"),
    ],
)
def test_senseless_evaluation_recipes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        jv.augment.EvalRecipe(**options)

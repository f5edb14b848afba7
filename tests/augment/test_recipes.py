"""The named recipes: what they promise about sizes, ranges and chance, and evaluation recipes that travel with weights."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import augment as ops
from tests.marks import slow

KEY = jax.random.key(1)
IMAGE = jax.random.uniform(jax.random.key(0), (60, 90, 3))


@pytest.mark.parametrize(
    "recipe",
    [
        ops.imagenet_train(32),
        ops.three_augment(32),
        ops.three_augment(32, simple_crop=True),
        ops.mae(32),
        ops.imagenet_eval(32, resize_to=36),
        ops.EvalRecipe(32),
    ],
)
def test_image_recipes_give_normalised_squares(recipe):
    found = jax.jit(recipe)(KEY, IMAGE)
    assert found.shape == (32, 32, 3) and found.dtype == jnp.float32
    lowest, highest = (-np.array([0.485, 0.456, 0.406]) + bound for bound in (0, 1))
    std = np.array([0.229, 0.224, 0.225])
    assert (found >= lowest / std - 1e-5).all() and (found <= highest / std + 1e-5).all()


def crop_and_flip(size: int, scale: tuple[float, float], method: str) -> tuple:
    return ops.random_resized_crop(size, scale=scale, ratio=(3 / 4, 4 / 3), method=method), ops.random_horizontal_flip(probability=0.5)


def contrasted(crop: tuple, jitter: tuple, *rest):
    """What SimCLR, BYOL and DINO do to a view between the flip and the blur."""
    return ops.chain(*crop, ops.random_apply(ops.color_jitter(*jitter), 0.8), ops.grayscale(probability=0.2), *rest)


def blur(probability: float, **options):
    return ops.gaussian_blur((0.1, 2.0), probability=probability, **options)


def the_papers() -> dict:
    """Each recipe beside its parts, with the numbers of its paper or of the paper's code written out."""
    normal = ops.normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    simclr = contrasted(crop_and_flip(20, (0.08, 1.0), "bilinear"), (0.8, 0.8, 0.8, 0.2), blur(0.5, kernel_size=3))
    cifar = contrasted(crop_and_flip(20, (0.08, 1.0), "bilinear"), (0.4, 0.4, 0.4, 0.1))
    wide, narrow = crop_and_flip(20, (0.4, 1.0), "bicubic"), crop_and_flip(12, (0.05, 0.4), "bicubic")
    color = (0.4, 0.4, 0.2, 0.1)
    dino = ops.views(
        contrasted(wide, color, blur(1.0), normal),
        contrasted(wide, color, blur(0.1), ops.solarize(0.5, probability=0.2), normal),
        crops=(contrasted(narrow, color, blur(0.5), normal),) * 2,
    )
    three = ops.one_of(ops.grayscale(), ops.solarize(0.5), blur(1.0)), ops.color_jitter(0.3, 0.3, 0.3, 0.0), normal
    shifted = ops.resize(20, method="bicubic"), ops.random_crop(20, padding=4, mode="reflect"), ops.random_horizontal_flip()
    return {
        "simclr": (ops.simclr(20), ops.views(simclr, simclr)),
        "simclr for CIFAR-10": (ops.simclr(20, strength=0.5, blur=False), ops.views(cifar, cifar)),
        "dino": (ops.dino(20, crop_size=12, crops=2), dino),
        "mae": (ops.each(ops.mae(20)), ops.each(ops.chain(*crop_and_flip(20, (0.2, 1.0), "bicubic"), normal))),
        "3-augment": (ops.each(ops.three_augment(20)), ops.each(ops.chain(*crop_and_flip(20, (0.08, 1.0), "bicubic"), *three))),
        "3-augment, shifted": (ops.each(ops.three_augment(20, simple_crop=True)), ops.each(ops.chain(*shifted, *three))),
        "imagenet": (ops.each(ops.imagenet_train(20)), ops.each(ops.chain(*crop_and_flip(20, (0.08, 1.0), "bilinear"), normal))),
    }


@pytest.mark.parametrize("name", the_papers())
def test_a_recipe_is_its_papers_parts_in_its_papers_order(name):
    """They are one program, down to every number in it, whose pixels other tests check_pvalue; nothing needs to be compiled."""
    batch = {"image": IMAGE[None, :28, :28]}
    found, expected = (jax.jit(augment).lower(KEY, batch).as_text() for augment in the_papers()[name])
    assert found == expected, "the recipe's parameters, parts or order are not those of the paper"


@pytest.mark.slow
def test_a_fifth_of_simclrs_views_are_gray():
    batch = {"image": jnp.broadcast_to(IMAGE, (600, *IMAGE.shape))}
    found = jax.jit(ops.simclr(4, strength=0.0, blur=False))(KEY, batch)["views"]  # [600, 2, 4, 4, 3]
    gray = np.ptp(np.asarray(found), axis=-1).max((2, 3)) < 1e-6
    assert abs(gray.mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / gray.size)
    assert found.min() >= 0 and found.max() <= 1


def test_an_evaluation_recipe_survives_json_and_can_be_a_key():
    recipe = ops.EvalRecipe(size=384, crop_fraction=1.0, method="bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    again = ops.EvalRecipe(**json.loads(json.dumps(dataclasses.asdict(recipe))))
    assert again == recipe and hash(again) == hash(recipe) and again != ops.EvalRecipe()


@pytest.mark.parametrize(
    ("size", "fraction", "shorter"),
    [
        (224, 0.9, 248),
        (224, 224 / 256, 256),
        *(slow(*row) for row in ((224, 0.875, 256), (299, 0.95, 314))),
    ],
)
def test_an_evaluation_recipe_resizes_as_timm_does(size, fraction, shorter):
    image = jax.random.uniform(jax.random.key(3), (330, 400, 3))
    normalise = ops.normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected = jax.jit(ops.chain(ops.resize(shorter, method="bicubic"), ops.center_crop(size), normalise))(None, image)
    np.testing.assert_allclose(jax.jit(ops.EvalRecipe(size, fraction, "bicubic"))(None, image), expected, atol=1e-6)


SHAPES, METHODS = [(20, 900, 3), (500, 17, 3), (18, 40, 1)], ["bilinear", "bicubic", "nearest"]


@pytest.mark.parametrize(
    ("shape", "method"),
    [
        pytest.param(shape, method, marks=() if i == j else pytest.mark.slow)
        for i, shape in enumerate(SHAPES)
        for j, method in enumerate(METHODS)
    ],
    ids=str,
)
def test_the_middle_of_a_long_picture_is_that_of_the_whole_resized(shape, method):
    image = jax.random.uniform(jax.random.key(4), shape)
    recipe = ops.EvalRecipe(16, 16 / 18, method, mean=(0.0,), std=(1.0,))
    whole = ops.chain(ops.resize(18, method=method), ops.center_crop(16))
    found, expected = (jax.jit(lambda image, step=step: step(None, image))(image) for step in (recipe, whole))
    np.testing.assert_array_equal(found, expected)


def test_a_long_picture_is_not_resized_as_a_whole():
    """40 x 60,000 would become 256 x 384,000: 1.2 GB of float32."""
    program = jax.jit(lambda image: ops.EvalRecipe()(None, image)).lower(jax.ShapeDtypeStruct((40, 60_000, 3), jnp.float32)).compile()
    memory = program.memory_analysis()
    assert memory.temp_size_in_bytes < 1e8, "more than ten times the picture itself"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "^size"),
        ({"crop_fraction": 1.5}, "^crop_fraction"),
        ({"method": "lanczos"}, "^method"),
    ],
)
def test_evaluation_recipes_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ops.EvalRecipe(**options)

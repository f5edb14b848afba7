"""torchvision's flips, crops, resizing and normalisation: the same pixels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.augment._resize import resized_part  # of a given rectangle, as torchvision's resized_crop
from jaxvision.augment.crops import draw_rectangle
from tests.marks import slow

torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
transforms = pytest.importorskip("torchvision.transforms.v2", reason="torchvision is not installed: parity with it is NOT checked here")

IMAGE = 0.3 + 0.4 * np.random.default_rng(0).random((37, 50, 3), np.float32)  # what bicubic overshoots stays in [0, 1], where it is not cut
MODES = {
    "bilinear": transforms.InterpolationMode.BILINEAR,
    "bicubic": transforms.InterpolationMode.BICUBIC,
    "nearest": transforms.InterpolationMode.NEAREST_EXACT,
}


RESIZED_PART = {method: jax.jit(functools.partial(resized_part, size=(16, 18), method=method)) for method in MODES}


def of_torchvision(function, *arguments, **options) -> np.ndarray:
    return function(torch.tensor(IMAGE).permute(2, 0, 1), *arguments, **options).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("method", MODES)
# No centre falls between two pixels: nearest would be a tie.
@pytest.mark.parametrize("size", [24, (80, 18), *(slow(size) for size in (54, (24, 30)))], ids=str)
def test_resize(size, method):
    expected = of_torchvision(transforms.Resize(size, interpolation=MODES[method], antialias=True))
    found = jax.jit(jv.augment.resize(size, method=method))(None, IMAGE)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("size", [20, (24, 31)], ids=str)
def test_resize_without_antialiasing(size):
    expected = of_torchvision(transforms.Resize(size, interpolation=MODES["bilinear"], antialias=False))
    np.testing.assert_allclose(jax.jit(jv.augment.resize(size, antialias=False))(None, IMAGE), expected, atol=1e-5)


@pytest.mark.parametrize("method", MODES)
@pytest.mark.parametrize("rectangle", [(0, 0, 37, 50), (3, 7, 30, 21), (11, 2, 9, 13), (36, 49, 1, 1)], ids=str)
def test_resized_crop_of_the_same_rectangle(rectangle, method):
    crop = transforms.functional.resized_crop
    expected = of_torchvision(crop, *rectangle, (16, 18), interpolation=MODES[method], antialias=True)
    found = RESIZED_PART[method](IMAGE, jnp.array(rectangle))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("size", [32, (20, 33), (37, 50), (30, 11)], ids=str)
def test_center_crop(size):
    np.testing.assert_array_equal(jv.augment.center_crop(size)(None, jnp.asarray(IMAGE)), of_torchvision(transforms.CenterCrop(size)))


@pytest.mark.parametrize("size", [20, (11, 30), (37, 50)], ids=str)
def test_five_crop(size):
    expected = np.stack([crop.permute(1, 2, 0).numpy() for crop in transforms.FiveCrop(size)(torch.tensor(IMAGE).permute(2, 0, 1))])
    np.testing.assert_array_equal(jv.augment.five_crop(size)(None, jnp.asarray(IMAGE)), expected)


def test_flips_and_normalisation():
    image, key = jnp.asarray(IMAGE), jax.random.key(0)
    functional = transforms.functional
    certain, never = {"probability": 1.0}, {"probability": 0.0}
    for flip, expected in (
        (jv.augment.random_horizontal_flip, functional.horizontal_flip),
        (jv.augment.random_vertical_flip, functional.vertical_flip),
    ):
        np.testing.assert_array_equal(flip(**certain)(key, image), of_torchvision(expected))
        np.testing.assert_array_equal(flip(**never)(key, image), IMAGE)
    mean, std = (0.2, 0.5, 0.7), (0.3, 0.1, 0.9)
    np.testing.assert_allclose(jv.augment.normalize(mean, std)(None, image), of_torchvision(functional.normalize, mean, std), atol=1e-6)


def test_imagenet_eval():
    expected = of_torchvision(
        transforms.Compose(
            [
                transforms.Resize(32, antialias=True),
                transforms.CenterCrop(28),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )
    )
    np.testing.assert_allclose(jax.jit(jv.augment.imagenet_eval(28, resize_to=32))(None, IMAGE), expected, atol=5e-5)


@pytest.mark.parametrize("shape", [(20, 100), (100, 20), (1, 1)], ids=str)
def test_the_rectangle_when_none_fits(shape):
    scale, ratio = (0.9, 1.0), (3 / 4, 4 / 3)
    drawn = transforms.RandomResizedCrop(8, scale=scale, ratio=ratio).make_params([torch.zeros(1, *shape)])
    found = draw_rectangle(jax.random.key(0), shape, scale, ratio)
    assert found.tolist() == [drawn[name] for name in ("top", "left", "height", "width")]

"""Blur, sharpness and gradient: torchvision's pixels, ramps, impulses, and torchvision's draws (table: -s)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats

import jaxvision as jv
from jaxvision.augment import filtering
from tests.augment.test_draws import KEYS, check_pvalue, same_amounts, theirs_of

torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
from torchvision.transforms import v2  # noqa: E402
from torchvision.transforms.v2 import functional  # noqa: E402

IMAGE = np.random.default_rng(0).random((21, 30, 3), np.float32)


def theirs(function, image: np.ndarray, *parameters) -> np.ndarray:
    return function(torch.tensor(image).permute(2, 0, 1), *parameters).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("sigma", "kernel_size"), [(0.1, 23), (0.5, 3), (2.0, 23), (3.0, 41)])
def test_blur(sigma, kernel_size, channels):
    image = IMAGE[..., :channels]
    found = jax.jit(filtering.blurred, static_argnames="kernel_size")(image, sigma, kernel_size=kernel_size)
    expected = theirs(functional.gaussian_blur, image, [kernel_size] * 2, [sigma] * 2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_blur_without_a_kernel_size_loses_next_to_nothing():
    found = jax.jit(lambda image: jv.augment.gaussian_blur(2.0)(None, image))(IMAGE)
    expected = ndimage.gaussian_filter(IMAGE.astype(np.float64), 2.0, mode="mirror", axes=(0, 1), truncate=5)
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.9])
def test_sharpness(factor, channels):
    for image in (IMAGE[..., :channels], IMAGE[:2, :, :channels]):  # two rows are all border
        expected = theirs(functional.adjust_sharpness, image, factor)
        np.testing.assert_allclose(jax.jit(filtering.sharpened)(image, factor), expected, atol=1e-5)


def test_photographs(data_folder):
    """Within 2 / 255 is asked for; the largest difference of all is printed."""
    largest = 0.0
    for name in ("skimage__astronaut.png", "skimage__coffee.png", "imageio__kodim03.png"):
        image = np.asarray(Image.open(data_folder / "photos" / name).convert("RGB").resize((240, 200)), np.float32) / 255
        blur = jax.jit(lambda image, sigma: filtering.blurred(image, sigma, kernel_size=23))
        pairs = [(blur(image, sigma), theirs(functional.gaussian_blur, image, [23, 23], [sigma] * 2)) for sigma in (0.1, 1.0, 2.0)]
        pairs += [(jax.jit(filtering.sharpened)(image, factor), theirs(functional.adjust_sharpness, image, factor)) for factor in (0, 1.9)]
        largest = max(largest, *(np.abs(np.asarray(found) - expected).max() for found, expected in pairs))
    print(f"blur and sharpness of photographs: largest difference {255 * largest:.4f} / 255")
    assert largest < 1e-5


@pytest.mark.parametrize("slope", [(0.02, 0.0), (0.0, -0.03), (0.013, 0.021)], ids=str)
def test_the_gradient_of_a_ramp_is_exact(slope):
    rows, columns = np.mgrid[:12, :16]
    ramp = 0.5 + slope[0] * rows + slope[1] * columns
    image = jnp.asarray(np.stack([ramp, 1 - ramp, 0 * ramp], -1), jnp.float32)
    found = np.asarray(jv.augment.sobel()(None, image))
    steepness = np.hypot(*slope)
    np.testing.assert_allclose(found[1:-1, 1:-1], np.broadcast_to([steepness, steepness, 0], (10, 14, 3)), atol=1e-6)
    np.testing.assert_allclose(found[0, 1:-1, 0], np.hypot(slope[0] / 2, slope[1]), atol=1e-6)


def test_the_gradient_is_sobels():
    planes = np.moveaxis(IMAGE, 2, 0).astype(np.float64)
    slopes = [[ndimage.sobel(plane, axis, mode="nearest") / 8 for axis in (0, 1)] for plane in planes]
    expected = np.stack([np.hypot(*slope) for slope in slopes], -1)
    np.testing.assert_allclose(jv.augment.sobel()(None, jnp.asarray(IMAGE)), expected, atol=1e-6)


def test_draws(monkeypatch):
    monkeypatch.setattr(filtering, "blurred", lambda image, sigma, kernel_size: jnp.full_like(image, sigma))
    pixel = jnp.full((1, 1, 1), -1.0)
    found = np.asarray(jax.jit(jax.vmap(jv.augment.gaussian_blur((0.1, 2.0), probability=0.5), (0, None)))(KEYS, pixel)).ravel()
    applied = int(np.sum(found > 0))
    check_pvalue("blur: share of images", stats.chisquare([applied, len(KEYS) - applied]).pvalue)
    same_amounts("blur: sigma", found[found > 0], [drawn["sigma"][0] for drawn in theirs_of(v2.GaussianBlur(23, (0.1, 2.0)))])
    monkeypatch.setattr(filtering, "sharpened", lambda image, factor: jnp.full_like(image, factor))
    found = np.asarray(jax.jit(jax.vmap(jv.augment.sharpness((0.0, 2.0)), (0, None)))(KEYS, pixel)).ravel()
    same_amounts("sharpness: factor", found, np.linspace(0, 2, 10_000))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jv.augment.gaussian_blur(0.0), "^sigma"),
        (lambda: jv.augment.gaussian_blur(kernel_size=4), "^kernel_size"),
        (lambda: jv.augment.gaussian_blur(1.0, kernel_size=43)(None, jnp.asarray(IMAGE)), "^kernel_size: .*43.*41"),
        (lambda: jv.augment.gaussian_blur(probability=2), "^probability"),
        (lambda: jv.augment.sharpness(-1), "^factor"),
        (lambda: jv.augment.sobel()(None, jnp.zeros((4, 4))), "^image"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()

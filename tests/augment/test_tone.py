"""Tone curves: torchvision's numbers, Pillow's histograms, channels that have nothing to stretch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.augment.tone import autocontrasted, equalized, inverted, posterized, solarized

KEY = jax.random.key(5)
RNG = np.random.default_rng(1)
BYTES = {
    "noise": RNG.integers(0, 256, (40, 31, 3)),
    "every level": np.arange(256).reshape(16, 16, 1),
    "dark": RNG.integers(3, 40, (64, 48, 3)),
    "few levels": RNG.choice([0, 17, 200, 255], (33, 40, 3), p=[0.6, 0.2, 0.1, 0.1]),
    "one channel flat": np.concatenate([RNG.integers(0, 256, (20, 20, 1)), np.full((20, 20, 2), [77, 0])], axis=2),
    "too small to equalize": RNG.integers(0, 256, (5, 6, 3)),
}
FORMULAS = {  # name: ours, torchvision's name and arguments
    "invert": (inverted, "invert"),
    "equalize": (equalized, "equalize"),
    "autocontrast": (autocontrasted, "autocontrast"),
    **{f"solarize {threshold}": (solarized, "solarize", threshold) for threshold in (0.0, 0.3, 1.0)},
    **{f"posterize {bits}": (posterized, "posterize", bits) for bits in range(9)},
}


def pixels(name: str) -> np.ndarray:
    return BYTES[name].astype(np.float32) / 255


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("name", BYTES)
def test_formulas_are_those_of_torchvision(name, formula):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
    pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
    from torchvision.transforms.v2 import functional

    ours, theirs, *arguments = FORMULAS[formula]
    for image in (pixels(name), RNG.random(BYTES[name].shape, np.float32)):  # on the grid of bytes, and off it
        expected = getattr(functional, theirs)(torch.tensor(image).permute(2, 0, 1), *arguments).permute(1, 2, 0).numpy()
        np.testing.assert_allclose(jax.jit(ours)(image, *arguments), expected, atol=1e-6)


@pytest.mark.parametrize("name", BYTES)
def test_histograms_are_flattened_as_pillow_does(name):
    image_ops = pytest.importorskip("PIL.ImageOps")
    found = np.round(255 * jax.jit(equalized)(pixels(name)))
    for channel in range(found.shape[2]):
        picture = pytest.importorskip("PIL.Image").fromarray(BYTES[name][..., channel].astype(np.uint8))
        np.testing.assert_array_equal(found[..., channel], np.asarray(image_ops.equalize(picture)))


def test_photographs_are_flattened_as_pillow_does(data_folder):
    image_ops = pytest.importorskip("PIL.ImageOps")
    for name in ("skimage__coffee.png", "skimage__retina.jpg", "skimage__camera.png"):
        photo = pytest.importorskip("PIL.Image").open(data_folder / "photos" / name).convert("RGB")
        found = jax.jit(equalized)(np.asarray(photo, np.float32) / 255)
        np.testing.assert_array_equal(np.round(255 * found), np.asarray(image_ops.equalize(photo)))


def test_bits_may_be_traced():
    image = jnp.asarray(RNG.random((8, 8, 3), np.float32))
    found = np.asarray(jax.jit(jax.vmap(posterized, (None, 0)))(image, jnp.arange(9)))
    for bits in range(9):
        np.testing.assert_array_equal(found[bits], posterized(image, bits))
        assert len(np.unique(found[bits])) <= 2**bits


def test_a_channel_of_one_value_stays():
    flat = jnp.full((4, 4, 3), jnp.array([0.3, 0.0, 1.0]))
    np.testing.assert_array_equal(jax.jit(autocontrasted)(flat), flat)
    np.testing.assert_allclose(jax.jit(equalized)(flat), flat, atol=0.5 / 255)


def test_inverting_and_solarizing_undo_themselves():
    image = jnp.asarray(RNG.random((6, 5, 3), np.float32))
    np.testing.assert_allclose(inverted(inverted(image)), image, atol=1e-7)
    np.testing.assert_allclose(solarized(solarized(image, 0.0), 0.0), image, atol=1e-7)


def test_operations_draw_what_they_are_asked_to():
    image = jnp.linspace(0, 1, 256).reshape(16, 16, 1)
    keys, picture = jax.random.split(KEY, 2000), 0.1 + 0.7 * image
    kept = jax.jit(jax.vmap(lambda key: jnp.mean(jv.augment.solarize((0.2, 0.8))(key, image) == image)))(keys)  # the threshold
    assert 0.19 < kept.min() < 0.21 and 0.79 < kept.max() < 0.81
    operations = {jv.augment.invert: inverted, jv.augment.equalize: equalized, jv.augment.autocontrast: autocontrasted}
    for make, formula in operations.items():
        np.testing.assert_allclose(jax.jit(make())(None, picture), jax.jit(formula)(picture), atol=1e-6)
    posterize = jv.augment.posterize(3, probability=0.2)
    changed = jax.jit(jax.vmap(lambda key: jnp.any(posterize(key, picture) != picture)))(keys)
    assert abs(changed.mean() - 0.2) < 0.04
    np.testing.assert_array_equal(jv.augment.posterize(3)(None, picture), posterized(picture, 3))


def test_precision_is_kept():
    for operation in (
        jv.augment.invert(),
        jv.augment.solarize(),
        jv.augment.posterize(4),
        jv.augment.equalize(),
        jv.augment.autocontrast(),
    ):
        assert jax.eval_shape(lambda image: operation(None, image), jnp.ones((4, 4, 1), jnp.bfloat16)).dtype == jnp.bfloat16  # noqa: B023


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jv.augment.posterize(9), "^bits"),
        (lambda: jv.augment.posterize(2.5), "^bits"),
        (lambda: jv.augment.solarize(1.5), "^threshold"),
        (lambda: jv.augment.invert(probability=-1), "^probability"),
        (lambda: jv.augment.solarize((0.1, 0.2))(None, jnp.ones((4, 4, 3))), "^key"),
        (lambda: jv.augment.equalize()(None, jnp.ones((4, 4))), "^image"),
    ],
)
def test_wrong_tone_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()

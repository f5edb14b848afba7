"""Cutout, random erasing, noise: whole rectangles in the right colour, and nothing else touched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxvision as jv
from jaxvision.augment.erasing import draw_erased

IMAGE = jnp.asarray(0.1 + 0.8 * np.random.default_rng(0).random((24, 30, 3), np.float32))
KEYS = jax.random.split(jax.random.key(2), 500)


def rectangle_of(changed: np.ndarray) -> tuple[int, int]:
    """(height, width) of the pixels [H, W] that changed; they are a rectangle, or none."""
    np.testing.assert_array_equal(changed, np.outer(changed.any(1), changed.any(0)))
    for side in (changed.any(0), changed.any(1)):
        assert np.sum(np.diff(side, prepend=False, append=False)) <= 2  # one run
    return changed.any(1).sum(), changed.any(0).sum()


@pytest.mark.parametrize("size", [1, 5, 8])
def test_cutout_is_a_square_cut_at_the_border(size):
    color = (0.0, 1.0, 0.5)
    found = np.asarray(jax.jit(jax.vmap(jv.augment.cutout(size, value=color), (0, None)))(KEYS, IMAGE))
    painted = np.all(found == np.float32(color), axis=-1)
    assert np.all(painted | np.all(found == IMAGE, axis=-1))
    sides = [rectangle_of(picture) for picture in painted]
    assert max(sides) == (size, size) and min(min(side) for side in sides) == (size + 1) // 2
    where = painted.mean(0)  # [H, W]: the middle is covered as often as the square's area says
    middle = where[size : 24 - size, size : 30 - size].mean()
    assert abs(middle - size**2 / (24 * 30)) < 4 * np.sqrt(size**2 / (24 * 30) / len(KEYS)) * size / 12 + 1e-3


def test_random_erasing_paints_one_rectangle_or_none():
    erase = jv.augment.random_erasing(value=1.0, scale=(0.1, 0.3))
    found = np.asarray(jax.jit(jax.vmap(erase, (0, None)))(KEYS, IMAGE))
    painted = np.all(found == 1.0, axis=-1)
    assert np.all(painted | np.all(found == IMAGE, axis=-1))
    areas = np.array([np.prod(rectangle_of(picture)) for picture in painted]) / (24 * 30)
    assert abs(np.mean(areas > 0) - 0.5) < 0.1
    assert 0.08 < areas[areas > 0].min() and areas.max() < 0.33


def test_random_values_are_standard_normal():
    erase = jv.augment.random_erasing(probability=1.0, scale=(0.5, 0.6), ratio=(1.0, 1.0), value="random")
    found = np.asarray(jax.jit(erase)(jax.random.key(0), jnp.full((64, 64, 3), 9.0)))
    assert stats.kstest(found[found != 9], stats.norm.cdf).pvalue > 0.01


def test_what_never_fits_is_left_alone():
    """As torchvision: a rectangle must be smaller than the image both ways, and after ten tries none is painted."""
    assert draw_erased(jax.random.key(0), (8, 8), (1.0, 1.0), (1.0, 1.0))[2:].tolist() == [0, 0]
    erase = jv.augment.random_erasing(probability=1.0, scale=(1.0, 1.0), ratio=(1.0, 1.0), value=0.5)
    np.testing.assert_array_equal(jax.jit(erase)(jax.random.key(0), IMAGE), IMAGE)


def test_noise_is_normal_and_clipped():
    key, image = jax.random.key(0), jnp.full((50, 50, 3), 0.5)
    noise = np.asarray(jax.jit(jv.augment.gaussian_noise(0.2, mean=0.1, clip=False))(key, image)) - 0.5
    assert stats.kstest(noise.ravel(), stats.norm(0.1, 0.2).cdf).pvalue > 0.01
    clipped = jax.jit(jv.augment.gaussian_noise(0.2, mean=0.1))(key, image)
    np.testing.assert_allclose(clipped, np.clip(noise + 0.5, 0, 1), atol=1e-6)
    np.testing.assert_array_equal(jv.augment.gaussian_noise(0.0)(key, IMAGE), IMAGE)
    noisy = jv.augment.gaussian_noise((0.0, 0.1), clip=False)
    deviation = np.asarray(jax.jit(jax.vmap(lambda key: jnp.std(noisy(key, image))))(KEYS))
    assert stats.kstest(deviation / 0.1, stats.uniform.cdf).pvalue > 0.01


def test_precision_is_kept():
    image = jnp.ones((8, 8, 1), jnp.bfloat16)
    erase = jv.augment.random_erasing(probability=1.0, value="random")
    for operation in (jv.augment.cutout(3), erase, jv.augment.gaussian_noise()):
        assert jax.eval_shape(operation, jax.random.key(0), image).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jv.augment.cutout(0), "^size"),
        (lambda: jv.augment.cutout(4)(None, IMAGE), "^key"),
        (lambda: jv.augment.cutout(4, value=(0.1, 0.2))(KEYS[0], IMAGE), "^value"),
        (lambda: jv.augment.random_erasing(scale=(0.5, 0.1)), "^scale"),
        (lambda: jv.augment.random_erasing(ratio=(0.0, 1.0)), "^ratio"),
        (lambda: jv.augment.random_erasing(value="noise"), "^value"),
        (lambda: jv.augment.random_erasing(probability=2), "^probability"),
        (lambda: jv.augment.gaussian_noise(-0.1), "^std"),
        (lambda: jv.augment.gaussian_noise()(None, IMAGE), "^key"),
    ],
)
def test_what_painting_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()

"""Resizing of photographs against Pillow: 1 / 255 for bilinear, 2 / 255 for bicubic, the same pixels for nearest.

All 200 random pairs of sizes, through ``resize`` itself, compile 600 programs: ``python -m benchmarks.full_checks resize``.

Here the sizes of the source are traced, so that five compilations serve 40 pairs. Pillow is asked for the columns first, in one call,
and the rows next, as it did by itself until version 13, which takes the rows first where the height shrinks much more than the width:
bicubic, cut to whole bytes in between, then differs from itself.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

import jaxvision as jv
from jaxvision.augment._resize import resized_part  # of a traced rectangle: one program for many sizes

PHOTOGRAPHS = load_sample_images().images  # two of 427 x 640, uint8
TOLERANCES = {"bilinear": 1, "bicubic": 2, "nearest": 0}  # of 255
FILTERS = {name: getattr(Image.Resampling, name.upper()) for name in TOLERANCES}


def untied(length: int, size: int) -> np.ndarray:
    """[size] bool: whether an output centre lies in one input pixel, not on the border of two, where nearest may take either."""
    return (2 * np.arange(size) + 1) * length % (2 * size) != 0


def difference(found, image: np.ndarray, size: tuple[int, int], method: str) -> float:
    """The largest difference from Pillow's result, which is rounded to whole 255ths."""
    columns = Image.fromarray(image).resize((size[1], image.shape[0]), FILTERS[method])
    expected = np.asarray(columns.resize(size[::-1], FILTERS[method]), np.float32)
    distance = np.abs(np.asarray(found) * 255 - expected)
    if method == "nearest":
        distance = distance[untied(image.shape[0], size[0])][:, untied(image.shape[1], size[1])]
    return distance.max(initial=0.0)


@pytest.mark.parametrize("method", TOLERANCES)
def test_as_pillow_resizes_parts_of_photographs(method):
    rng, largest = np.random.default_rng(0), 0.0
    for size in ((16, 16), (224, 224), (31, 200), (96, 57), (300, 260)) if method != "nearest" else ((96, 57), (300, 260)):
        part = jax.jit(lambda image, rectangle, size=size: resized_part(image / 255, rectangle, size, method=method))
        for photograph in PHOTOGRAPHS * 4:
            height, width = rng.integers(8, (428, 641))
            top, left = rng.integers(0, (428 - height, 641 - width))
            image = photograph[top : top + height, left : left + width]
            found = part(photograph.astype(np.float32), jnp.array([top, left, height, width]))
            largest = max(largest, difference(found, image, size, method))
    print(f"{method}: largest difference from Pillow {largest:.3f} / 255")
    assert largest <= TOLERANCES[method] + 1e-3


@pytest.mark.parametrize("method", TOLERANCES)
@pytest.mark.parametrize("size", [50, (33, 90)], ids=str)
def test_resize_is_that_of_the_whole_image(size, method):
    image = PHOTOGRAPHS[0][50:120, 300:380]
    found = jax.jit(lambda image: jv.augment.resize(size, method=method)(None, image))(image.astype(np.float32) / 255)
    assert found.shape[:2] == ((50, 57) if size == 50 else size)
    assert difference(found, image, found.shape[:2], method) <= TOLERANCES[method] + 1e-3


def test_many_taps_are_summed_in_a_loop():
    """Shrinking 40-fold takes 160 taps; a flat image stays flat."""
    image = PHOTOGRAPHS[1][:400, :400]
    resize = jax.jit(lambda image: jv.augment.resize(10, method="bicubic")(None, image))
    assert difference(resize(image.astype(np.float32) / 255), image, (10, 10), "bicubic") <= 2
    np.testing.assert_allclose(resize(jnp.full((400, 400, 1), 0.25)), 0.25, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", TOLERANCES)
def test_random_pairs_of_sizes(method):
    rng, largest = np.random.default_rng(1), 0.0
    for turn in range(25):
        height, width, *size = (int(length) for length in rng.integers(8, (428, 641, 428, 641)))
        image = PHOTOGRAPHS[turn % 2][:height, :width]
        resize = jax.jit(lambda image, size=tuple(size): jv.augment.resize(size, method=method)(None, image))
        largest = max(largest, difference(resize(image.astype(np.float32) / 255), image, tuple(size), method))
    print(f"{method}: 25 pairs, largest difference from Pillow {largest:.3f} / 255")
    assert largest <= TOLERANCES[method] + 1e-3

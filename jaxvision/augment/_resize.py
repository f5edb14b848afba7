"""Resizing: each output column, then each output row, is a weighted sum of the input columns or rows within the filter's support."""

import math

import jax
import jax.numpy as jnp

from jaxvision import checks
from jaxvision.augment.batching import Augmentation, check_image
from jaxvision.typing import Array, at_least_float32

METHODS = ("bilinear", "bicubic", "nearest")  # of interpolation
_SUPPORT = {"bilinear": 1, "bicubic": 2}  # of the filter, in pixels to either side
_TAPS_PER_PASS = 8  # the unrolling of the loop over taps


def output_size(shape: tuple[int, ...], size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width): ``size`` itself if it is a pair; a number is the length of the shorter side, and the other side is in proportion."""
    if hasattr(size, "__len__"):
        return checks.pair("size", size)
    height, width = shape[:2]
    return (size, int(size * width / height)) if height <= width else (int(size * height / width), size)


def _taps(length: int, start: Array, extent: Array, size: int, method: str, antialias: bool) -> tuple[Array, Array]:
    """([K, size] indices into an axis of ``length``, [K, size] weights) for the part that begins at ``start`` and is ``extent`` long.

    Positions are computed as integers, in units of 1 / (2 * size) pixels, so that a position between two pixels is always rounded alike.
    """
    centre = (2 * jnp.arange(size) + 1) * extent
    if method == "nearest":
        return (start + centre // (2 * size))[None], jnp.ones((1, size))
    support = _SUPPORT[method]
    half = jnp.maximum(extent, size) if antialias else size  # half a pixel of the filter; larger if the image shrinks
    most = max(length / size, 1.0) if antialias else 1.0
    first = (centre + size - 2 * support * half) // (2 * size)
    place = first + jnp.arange(math.ceil(2 * support * most))[:, None]  # [K, size], from the start of the part
    distance = jnp.abs((2 * place + 1) * size - centre) / (2 * half)
    if method == "bilinear":
        weight = jnp.maximum(0.0, 1.0 - distance)
    else:  # Keys' cubic with a = -0.5
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weight = jnp.where(distance < 1, near, jnp.where(distance < 2, far, 0.0))
    weight = jnp.where((place >= 0) & (place < extent), weight, 0.0)  # pixels outside the part have no weight
    weight = jnp.round(weight * 2**18) / 2**18  # the sum is exact in any order of summation
    return jnp.clip(start + place, 0, length - 1), weight / jnp.sum(weight, axis=0)


def resized_part(image: Array, rectangle: Array, size: tuple[int, int], *, method: str, antialias: bool = True, window=None) -> Array:
    """The part (top, left, height, width) of an image [H, W, C], in whole pixels that may be traced, resized to [h, w, C].

    Options as in ``resize``; ``window``: the (top, left, height, width) of the result to compute; None computes all of it.
    """
    window = (0, 0, *size) if window is None else window
    result = at_least_float32(image)
    for axis in (1, 0):
        taps = _taps(image.shape[axis], rectangle[axis], rectangle[axis + 2], size[axis], method, antialias)
        places, weights = (tap[:, window[axis] : window[axis] + window[axis + 2]] for tap in taps)

        def add(total, tap, axis=axis, source=result):
            place, weight = tap
            return total + jnp.expand_dims(weight, (1 - axis, 2)) * jnp.take(source, place, axis, mode="clip"), None

        blank = jnp.zeros((*result.shape[:axis], window[axis + 2], *result.shape[axis + 1 :]), result.dtype)
        result = jax.lax.scan(add, blank, (places, weights), unroll=_TAPS_PER_PASS)[0]
        result = jnp.clip(result, 0, 1) if method == "bicubic" else result  # bicubic overshoots at edges; Pillow too clips after each axis
    return result.astype(image.dtype)


def resize(size: int | tuple[int, int], *, method: str = "bilinear", antialias: bool = True) -> Augmentation:
    """Resize an image: ``(key, image [H, W, C]) -> image [h, w, C]``. The key may be None.

    ``size``: (h, w), or one integer, the length of the shorter side; the other side then keeps the proportions. ``method``: "bilinear",
    "bicubic" (Keys' cubic with a = -0.5, clipped to [0, 1]) or "nearest" (the pixel under the centre), all as in Pillow. ``antialias``:
    widen the filter if the image shrinks, as Pillow always does.

    Raises ValueError for another method, or a size below 1.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jax.eval_shape(jv.augment.resize(4), None, jnp.zeros((8, 16, 3))).shape
    (4, 8, 3)
    """
    checks.one_of("method", method, METHODS)
    checks.pair("size", size)

    def apply(key, image):
        check_image(image)
        shape = output_size(image.shape, size)
        if shape == image.shape[:2]:
            return image
        return resized_part(image, (0, 0, *image.shape[:2]), shape, method=method, antialias=antialias)

    return apply

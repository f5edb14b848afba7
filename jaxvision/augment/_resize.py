"""Resizing: every output column, then every output row, is a weighted sum of the few input ones that its filter reaches."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxvision.augment.batching import check_image
from jaxvision.augment.options import check_one_of, pair
from jaxvision.typing import Array, at_least_float32

METHODS = ("bilinear", "bicubic", "nearest")  # of interpolating
_REACH = {"bilinear": 1, "bicubic": 2}  # of the filter, in pixels to either side
_UNROLLED = 8  # taps in one pass over the pixels


def output_size(shape: tuple[int, ...], size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width): ``size`` itself, or, for one number, the shorter side at that length and the other in proportion."""
    if hasattr(size, "__len__"):
        return pair(size)
    height, width = shape[:2]
    return (size, int(size * width / height)) if height <= width else (int(size * height / width), size)


def _taps(length: int, start: Array, extent: Array, size: int, method: str, antialias: bool) -> tuple[Array, Array]:
    """([K, size] places in an axis of ``length``, [K, size] weights) for the part that starts at ``start`` and is ``extent`` long.

    Positions are whole numbers of 1 / (2 * size) pixels: where one falls between two pixels, rounding must not choose twice.
    """
    centre = (2 * jnp.arange(size) + 1) * extent
    if method == "nearest":
        return (start + centre // (2 * size))[None], jnp.ones((1, size))
    reach = _REACH[method]
    half = jnp.maximum(extent, size) if antialias else size  # of the filter, a unit of its distance; wider where the image shrinks
    most = max(length / size, 1.0) if antialias else 1.0
    first = (centre + size - 2 * reach * half) // (2 * size)
    place = first + jnp.arange(math.ceil(2 * reach * most))[:, None]  # [K, size], from the start of the part
    distance = jnp.abs((2 * place + 1) * size - centre) / (2 * half)
    if method == "bilinear":
        weight = jnp.maximum(0.0, 1.0 - distance)
    else:  # Keys' cubic with a = -0.5
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weight = jnp.where(distance < 1, near, jnp.where(distance < 2, far, 0.0))
    weight = jnp.where((place >= 0) & (place < extent), weight, 0.0)  # nothing outside the part shines in
    weight = jnp.round(weight * 2**18) / 2**18  # their sum is exact, in whatever order a compiler takes it
    return jnp.clip(start + place, 0, length - 1), weight / jnp.sum(weight, axis=0)


def resized_part(image: Array, rectangle: Array, size: tuple[int, int], *, method: str, antialias: bool = True, window=None) -> Array:
    """The part (top, left, height, width) of an image [H, W, C], whole pixels that may be traced, resized to [h, w, C].

    Options as in ``resize``; ``window``: the (top, left, height, width) of the result that is made, without one all of it.
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
        result = jax.lax.scan(add, blank, (places, weights), unroll=_UNROLLED)[0]
        result = jnp.clip(result, 0, 1) if method == "bicubic" else result  # which overshoots beside edges: Pillow, too, cuts it twice
    return result.astype(image.dtype)


def resize(size: int | tuple[int, int], *, method: str = "bilinear", antialias: bool = True) -> Callable:
    """``(key, image [H, W, C]) -> image [h, w, C]``. ``size``: (h, w), or the length of the shorter side.

    ``antialias`` widens the filter where the image shrinks, as Pillow always does; bicubic has a = -0.5, what it overshoots is cut to
    [0, 1], and nearest takes the pixel under the centre, Pillow's ways too.
    Raises ValueError for another ``method`` than bilinear, bicubic and nearest, or a size below 1.
    """
    check_one_of("method", method, METHODS)
    pair(size)

    def apply(key, image):
        check_image(image)
        shape = output_size(image.shape, size)
        if shape == image.shape[:2]:
            return image
        return resized_part(image, (0, 0, *image.shape[:2]), shape, method=method, antialias=antialias)

    return apply

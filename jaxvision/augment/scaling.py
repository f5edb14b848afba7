"""Resizing."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxvision.augment.batching import check_image
from jaxvision.typing import Array

METHODS = ("bilinear", "bicubic", "nearest")


def check_method(method: str) -> None:
    """Raises ValueError for an interpolation that is none of ``METHODS``."""
    if method not in METHODS:
        raise ValueError(f"method: found {method!r}, expected one of {', '.join(METHODS)}")


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a square's side or of itself. Raises ValueError unless both are at least 1."""
    lengths = tuple(size) if hasattr(size, "__len__") else (size, size)
    if len(lengths) != 2 or min(lengths) < 1:
        raise ValueError(f"size: found {size}, expected a number of pixels or (height, width), at least 1")
    return lengths


def within(image: Array, method: str) -> Array:
    """An image after an interpolation, in [0, 1]: of the methods only bicubic leaves it, beside edges."""
    return jnp.clip(image, 0, 1) if method == "bicubic" else image


def output_size(shape: tuple[int, ...], size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width): ``size`` itself, or, for one number, the shorter side at that length and the other in proportion."""
    if hasattr(size, "__len__"):
        return pair(size)
    height, width = shape[:2]
    return (size, int(size * width / height)) if height <= width else (int(size * height / width), size)


def resize(size: int | tuple[int, int], *, method: str = "bilinear", antialias: bool = True) -> Callable:
    """``(key, image [H, W, C]) -> image [h, w, C]``. ``size``: (h, w), or the length of the shorter side.

    ``antialias`` widens the filter where the image shrinks, as Pillow always does; bicubic has a = -0.5, what it overshoots is cut to
    [0, 1], and nearest takes the pixel under the centre, Pillow's ways too.
    Raises ValueError for another ``method`` than bilinear, bicubic and nearest, or a size below 1.
    """
    check_method(method)
    pair(size)

    def apply(key, image):
        check_image(image)
        shape = (*output_size(image.shape, size), image.shape[2])
        return image if shape == image.shape else within(jax.image.resize(image, shape, method, antialias=antialias), method)

    return apply

"""Resizing."""

from collections.abc import Callable

import jax

from jaxvision.augment.batching import check_image

METHODS = ("bilinear", "bicubic", "nearest")


def check_method(method: str) -> None:
    """Raises ValueError for an interpolation that is none of ``METHODS``."""
    if method not in METHODS:
        raise ValueError(f"method: found {method!r}, expected one of {', '.join(METHODS)}")


def output_size(shape: tuple[int, ...], size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width): ``size`` itself, or, for one number, the shorter side at that length and the other in proportion."""
    if not isinstance(size, int):
        return tuple(size)
    height, width = shape[:2]
    return (size, int(size * width / height)) if height <= width else (int(size * height / width), size)


def resize(size: int | tuple[int, int], *, method: str = "bilinear", antialias: bool = True) -> Callable:
    """``(key, image [H, W, C]) -> image [h, w, C]``. ``size``: (h, w), or the length of the shorter side.

    ``antialias`` widens the filter where the image shrinks, as Pillow always does; bicubic has a = -0.5, Pillow's too.
    Raises ValueError for another ``method`` than bilinear, bicubic and nearest.
    """
    check_method(method)

    def apply(key, image):
        check_image(image)
        shape = (*output_size(image.shape, size), image.shape[2])
        return image if shape == image.shape else jax.image.resize(image, shape, method, antialias=antialias)

    return apply

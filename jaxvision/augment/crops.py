"""Crops: in the middle, in the corners, anywhere, anywhere at any size."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxvision.augment._resize import METHODS, output_size, resized_part
from jaxvision.augment.batching import check_image, check_key
from jaxvision.augment.options import check_count, check_one_of, check_range, pair
from jaxvision.augment.rectangles import draw_corner, draw_sides
from jaxvision.typing import Array, Key

PADDINGS = ("constant", "edge", "reflect", "symmetric", "wrap")


def draw_rectangle(key: Key, shape: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]) -> Array:
    """(top, left, height, width) as torchvision's RandomResizedCrop draws it: ten tries, then the largest middle part of fitting ratio."""
    rows, columns = shape
    area_key, ratio_key, top_key, left_key = jax.random.split(key, 4)
    widths, heights = draw_sides(area_key, ratio_key, rows * columns, scale, ratio)
    fits = (widths > 0) & (widths <= columns) & (heights > 0) & (heights <= rows)
    first = jnp.argmax(fits)
    if columns / rows < ratio[0]:
        fallback = (max(1, round(columns / ratio[0])), columns)
    elif columns / rows > ratio[1]:
        fallback = (rows, max(1, round(rows * ratio[1])))
    else:
        fallback = (rows, columns)
    found = jnp.any(fits)
    height, width = jnp.where(found, heights[first], fallback[0]), jnp.where(found, widths[first], fallback[1])
    top, left = draw_corner(top_key, left_key, shape, height, width)
    centred = jnp.array([(rows - fallback[0]) // 2, (columns - fallback[1]) // 2])
    return jnp.stack([jnp.where(found, top, centred[0]), jnp.where(found, left, centred[1]), height, width])


def middle(shape: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the middle ``size`` of an image of ``shape``, which is no smaller."""
    return *(round((outer - inner) / 2) for outer, inner in zip(shape, size, strict=True)), *size


def resized_middle(image: Array, shorter: int, size: int, *, method: str) -> Array:
    """[size, size, C]: the middle of an image [H, W, C] resized to ``shorter`` on its shorter side; nothing else is made."""
    check_image(image)
    shape = output_size(image.shape, shorter)
    if shape == image.shape[:2]:
        return center_crop(size)(None, image)
    return resized_part(image, (0, 0, *image.shape[:2]), shape, method=method, window=middle(shape, (size, size)))


def center_crop(size: int | tuple[int, int]) -> Callable:
    """The middle [h, w] of an image: ``(key, image [H, W, C]) -> image [h, w, C]``. Raises ValueError for an image that is smaller."""
    height, width = pair(size)

    def apply(key, image):
        check_image(image)
        if image.shape[0] < height or image.shape[1] < width:
            raise ValueError(f"image: {image.shape[0]} x {image.shape[1]} is smaller than the crop of {height} x {width}; resize it first")
        top, left, _, _ = middle(image.shape[:2], (height, width))
        return image[top : top + height, left : left + width]

    return apply


def five_crop(size: int | tuple[int, int]) -> Callable:
    """The four corners and the middle: ``(key, image [H, W, C]) -> images [5, h, w, C]``: top left, top right, bottom left, bottom right,
    middle. Raises ValueError for an image that is smaller.
    """
    height, width = pair(size)
    center_of = center_crop(size)

    def apply(key, image):
        center = center_of(key, image)
        rows, columns = (slice(height), slice(image.shape[0] - height, None)), (slice(width), slice(image.shape[1] - width, None))
        return jnp.stack([*(image[row, column] for row in rows for column in columns), center])

    return apply


def random_crop(size: int | tuple[int, int], *, padding: int = 0, mode: str = "constant") -> Callable:
    """A random [h, w] of the image after ``padding`` pixels on each side: ``(key, image [H, W, C]) -> image [h, w, C]``.

    ``mode``: what is padded, as in ``jax.numpy.pad`` ("constant" is black; ``PADDINGS``). Raises ValueError for an image that is smaller.
    """
    height, width = pair(size)
    check_count("padding", padding, 0)
    check_one_of("mode", mode, PADDINGS)

    def apply(key, image):
        check_key(key)
        check_image(image)
        padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode=mode)
        if padded.shape[0] < height or padded.shape[1] < width:
            raise ValueError(f"image: {padded.shape[0]} x {padded.shape[1]} padded is smaller than the crop of {height} x {width}; pad it")
        room = jnp.array([padded.shape[0] - height + 1, padded.shape[1] - width + 1])
        top, left = jax.random.randint(key, (2,), 0, room)
        return jax.lax.dynamic_slice(padded, (top, left, 0), (height, width, image.shape[2]))

    return apply


def random_resized_crop(
    size: int | tuple[int, int],
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    method: str = "bilinear",
) -> Callable:
    """A random part of the image, resized: ``(key, image [H, W, C]) -> image [h, w, C]`` (Szegedy et al., 2014).

    ``scale``: range of the part's area, as a share; ``ratio``: range of width / height, drawn on a logarithmic scale.
    Interpolation is ``resize``'s, with antialiasing. Raises ValueError for another ``method`` than bilinear, bicubic and nearest, or a
    range that is none.
    """
    check_one_of("method", method, METHODS)
    check_range("scale", scale)
    check_range("ratio", ratio)
    target = pair(size)

    def apply(key, image):
        check_key(key)
        check_image(image)
        return resized_part(image, draw_rectangle(key, image.shape[:2], scale, ratio), target, method=method)

    return apply

"""Crops: in the middle, in the corners, anywhere, anywhere at any size."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxvision.augment.batching import check_image, check_key
from jaxvision.augment.scaling import check_method, pair, resized_part
from jaxvision.typing import Array, Key

_TRIES = 10  # rectangles drawn before torchvision, too, gives up


def draw_rectangle(key: Key, shape: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]) -> Array:
    """(top, left, height, width) as torchvision's RandomResizedCrop draws it: ten tries, then the largest middle part of fitting ratio."""
    rows, columns = shape
    area_key, ratio_key, top_key, left_key = jax.random.split(key, 4)
    area = rows * columns * jax.random.uniform(area_key, (_TRIES,), minval=scale[0], maxval=scale[1])
    aspect = jnp.exp(jax.random.uniform(ratio_key, (_TRIES,), minval=math.log(ratio[0]), maxval=math.log(ratio[1])))
    widths = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
    heights = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
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
    top = jax.random.randint(top_key, (), 0, rows - height + 1)
    left = jax.random.randint(left_key, (), 0, columns - width + 1)
    middle = jnp.array([(rows - fallback[0]) // 2, (columns - fallback[1]) // 2])
    return jnp.stack([jnp.where(found, top, middle[0]), jnp.where(found, left, middle[1]), height, width])


def center_crop(size: int | tuple[int, int]) -> Callable:
    """The middle [h, w] of an image: ``(key, image [H, W, C]) -> image [h, w, C]``. Raises ValueError for an image that is smaller."""
    height, width = pair(size)

    def apply(key, image):
        check_image(image)
        if image.shape[0] < height or image.shape[1] < width:
            raise ValueError(f"image: {image.shape[0]} x {image.shape[1]} is smaller than the crop of {height} x {width}; resize it first")
        top, left = round((image.shape[0] - height) / 2), round((image.shape[1] - width) / 2)
        return image[top : top + height, left : left + width]

    return apply


def five_crop(size: int | tuple[int, int]) -> Callable:
    """The four corners and the middle: ``(key, image [H, W, C]) -> images [5, h, w, C]``: top left, top right, bottom left, bottom right,
    middle. Raises ValueError for an image that is smaller.
    """
    height, width = pair(size)
    middle = center_crop(size)

    def apply(key, image):
        center = middle(key, image)
        rows, columns = (slice(height), slice(image.shape[0] - height, None)), (slice(width), slice(image.shape[1] - width, None))
        return jnp.stack([*(image[row, column] for row in rows for column in columns), center])

    return apply


def random_crop(size: int | tuple[int, int], *, padding: int = 0, mode: str = "constant") -> Callable:
    """A random [h, w] of the image after ``padding`` pixels on each side: ``(key, image [H, W, C]) -> image [h, w, C]``.

    ``mode``: what is padded, as in ``jax.numpy.pad`` ("constant" is black). Raises ValueError for an image that is smaller.
    """
    height, width = pair(size)

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
    check_method(method)
    for name, (low, high) in (("scale", scale), ("ratio", ratio)):
        if not 0 < low <= high:
            raise ValueError(f"{name}: found ({low}, {high}), expected 0 < low <= high")
    target = pair(size)

    def apply(key, image):
        check_key(key)
        check_image(image)
        return resized_part(image, draw_rectangle(key, image.shape[:2], scale, ratio), target, method=method)

    return apply

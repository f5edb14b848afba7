"""Rectangles painted over: cutout and random erasing."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxvision.augment.batching import check_image, check_key
from jaxvision.augment.geometry import color_like
from jaxvision.augment.options import check_count, check_range
from jaxvision.augment.random import check_probability, random_apply
from jaxvision.augment.rectangles import draw_corner, draw_sides
from jaxvision.typing import Array, Key


def painted(image: Array, rectangle: Array, paint: Array) -> Array:
    """An image [H, W, C] with ``paint`` (of any shape that fits it) in the rectangle (top, left, height, width)."""
    top, left, height, width = rectangle
    rows, columns = jnp.arange(image.shape[0]), jnp.arange(image.shape[1])
    inside = ((rows >= top) & (rows < top + height))[:, None] & ((columns >= left) & (columns < left + width))  # [H, W]
    return jnp.where(inside[..., None], paint, image)


def draw_cutout(key: Key, shape: tuple[int, int], size: int) -> Array:
    """(top, left, height, width) of a square around a uniform pixel of the image; it may reach over the border."""
    centre = jax.random.randint(key, (2,), 0, jnp.array(shape))
    return jnp.concatenate([centre - size // 2, jnp.array([size, size])])


def draw_erased(key: Key, shape: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]) -> Array:
    """(top, left, height, width) as torchvision's RandomErasing draws it: the first of ten that is smaller than the image, else empty."""
    rows, columns = shape
    area_key, ratio_key, top_key, left_key = jax.random.split(key, 4)
    heights, widths = draw_sides(area_key, ratio_key, rows * columns, scale, ratio)
    fits = (heights < rows) & (widths < columns)
    first = jnp.argmax(fits)
    height, width = (jnp.where(jnp.any(fits), lengths[first], 0) for lengths in (heights, widths))
    top, left = draw_corner(top_key, left_key, shape, height, width)
    return jnp.stack([top, left, height, width])


def cutout(size: int, *, value=0.0, probability: float = 1.0) -> Callable:
    """A square of ``size`` pixels painted over: ``(key, image [H, W, C]) -> image [H, W, C]`` (DeVries & Taylor, 2017).

    Its centre is any pixel, all alike, and what reaches over the border is cut; ``value``: a number or one a channel.
    Raises ValueError for a size below 1.
    """
    check_count("size", size, 1)

    def apply(key, image):
        check_key(key)
        check_image(image)
        return painted(image, draw_cutout(key, image.shape[:2], size), color_like(image, "value", value))

    return random_apply(apply, probability)


def random_erasing(
    *, probability: float = 0.5, scale: tuple[float, float] = (0.02, 0.33), ratio: tuple[float, float] = (0.3, 3.3), value=0.0
) -> Callable:
    """A random rectangle painted over: ``(key, image [H, W, C]) -> image [H, W, C]`` (Zhong et al., 2017).

    ``scale``: range of its share of the area; ``ratio``: range of height / width, drawn on a logarithmic scale; ``value``: a number, one
    a channel, or "random" for standard normal noise, which suits a normalised image.
    Raises ValueError for a range that is none, or another word for the value.
    """
    check_probability(probability)
    check_range("scale", scale)
    check_range("ratio", ratio)
    if isinstance(value, str) and value != "random":
        raise ValueError(f"value: found {value!r}, expected a number, one a channel, or 'random'")

    def apply(key, image):
        check_key(key)
        check_image(image)
        place_key, paint_key = jax.random.split(key)
        noise = isinstance(value, str)
        paint = jax.random.normal(paint_key, image.shape, image.dtype) if noise else color_like(image, "value", value)
        return painted(image, draw_erased(place_key, image.shape[:2], scale, ratio), paint)

    return random_apply(apply, probability)

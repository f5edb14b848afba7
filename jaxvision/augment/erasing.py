"""Rectangles painted over: cutout and random erasing."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxvision.augment.batching import check_image, check_key
from jaxvision.augment.choice import check_probability, random_apply
from jaxvision.augment.geometry import color_like
from jaxvision.typing import Array, Key

_TRIES = 10  # rectangles drawn before torchvision, too, leaves the image as it is


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
    area = rows * columns * jax.random.uniform(area_key, (_TRIES,), minval=scale[0], maxval=scale[1])
    aspect = jnp.exp(jax.random.uniform(ratio_key, (_TRIES,), minval=math.log(ratio[0]), maxval=math.log(ratio[1])))
    heights = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
    widths = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
    fits = (heights < rows) & (widths < columns)
    first = jnp.argmax(fits)
    height, width = (jnp.where(jnp.any(fits), lengths[first], 0) for lengths in (heights, widths))
    top = jax.random.randint(top_key, (), 0, rows - height + 1)
    left = jax.random.randint(left_key, (), 0, columns - width + 1)
    return jnp.stack([top, left, height, width])


def cutout(size: int, *, value=0.0, probability: float = 1.0) -> Callable:
    """A square of ``size`` pixels painted over: ``(key, image [H, W, C]) -> image [H, W, C]`` (DeVries & Taylor, 2017).

    Its centre is any pixel, all alike, and what reaches over the border is cut; ``value``: a number or one a channel.
    Raises ValueError for a size below 1.
    """
    if size < 1:
        raise ValueError(f"size: found {size}, expected at least 1 pixel")

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
    for name, (low, high) in (("scale", scale), ("ratio", ratio)):
        if not 0 < low <= high:
            raise ValueError(f"{name}: found ({low}, {high}), expected 0 < low <= high")
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

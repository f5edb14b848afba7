"""Erasing of rectangles: cutout and random erasing."""

import jax
import jax.numpy as jnp

from jaxvision import checks
from jaxvision.augment.batching import Augmentation, check_image, check_key
from jaxvision.augment.geometry import Color, color_like
from jaxvision.augment.random import draw_corner, draw_sides, random_apply
from jaxvision.typing import Array, Key


def painted(image: Array, rectangle: Array, paint: Array) -> Array:
    """An image [H, W, C] whose rectangle (top, left, height, width) is replaced by ``paint``, which broadcasts to the image."""
    top, left, height, width = rectangle
    rows, columns = jnp.arange(image.shape[0]), jnp.arange(image.shape[1])
    inside = ((rows >= top) & (rows < top + height))[:, None] & ((columns >= left) & (columns < left + width))  # [H, W]
    return jnp.where(inside[..., None], paint, image)


def draw_cutout(key: Key, shape: tuple[int, int], size: int) -> Array:
    """(top, left, height, width) of a square around a uniformly drawn pixel; it may extend beyond the image."""
    centre = jax.random.randint(key, (2,), 0, jnp.array(shape))
    return jnp.concatenate([centre - size // 2, jnp.array([size, size])])


def draw_erased(key: Key, shape: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]) -> Array:
    """(top, left, height, width) as torchvision's RandomErasing draws it: the first attempt that fits into the image, else empty."""
    rows, columns = shape
    area_key, ratio_key, top_key, left_key = jax.random.split(key, 4)
    heights, widths = draw_sides(area_key, ratio_key, rows * columns, scale, ratio)
    fits = (heights < rows) & (widths < columns)
    first = jnp.argmax(fits)
    height, width = (jnp.where(jnp.any(fits), lengths[first], 0) for lengths in (heights, widths))
    top, left = draw_corner(top_key, left_key, shape, height, width)
    return jnp.stack([top, left, height, width])


def cutout(size: int, *, value: Color = 0.0, probability: float = 1.0) -> Augmentation:
    """Replace a square of ``size`` pixels by a colour, with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``.

    The centre is a uniformly drawn pixel; the part of the square outside the image is dropped. ``value``: one number, or one for each
    channel. Source: DeVries & Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017.

    Raises ValueError if ``size`` is below 1.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> image = jax.jit(jv.augment.cutout(4))(jax.random.key(0), jnp.ones((32, 32, 3)))
    >>> bool(2 * 2 <= (image[..., 0] == 0).sum() <= 4 * 4)
    True
    """
    checks.integer("size", size)

    def apply(key, image):
        check_key(key)
        check_image(image)
        return painted(image, draw_cutout(key, image.shape[:2], size), color_like(image, "value", value))

    return random_apply(apply, probability)


def random_erasing(
    *,
    probability: float = 0.5,
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
    value: Color | str = 0.0,
) -> Augmentation:
    """Replace a random rectangle by a colour or noise, with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``.

    ``scale``: range of the rectangle's area, as a fraction of the image's; ``ratio``: range of height / width, drawn log-uniformly;
    ``value``: one number, one for each channel, or "random" for standard normal noise, which suits a normalized image.
    Source: Zhong et al., Random Erasing Data Augmentation, 2017.

    Raises ValueError for a range that is not positive and in order, or another string as ``value``.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> erase = jv.augment.random_erasing(probability=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0))
    >>> float(jax.jit(erase)(jax.random.key(0), jnp.ones((8, 8, 1))).mean())
    0.75
    """
    checks.fraction(probability=probability)
    checks.interval("scale", scale)
    checks.interval("ratio", ratio)
    if isinstance(value, str) and value != "random":
        raise ValueError(f"value: found {value!r}, expected a number, one for each channel, or 'random'")

    def apply(key, image):
        check_key(key)
        check_image(image)
        place_key, paint_key = jax.random.split(key)
        noise = isinstance(value, str)
        paint = jax.random.normal(paint_key, image.shape, image.dtype) if noise else color_like(image, "value", value)
        return painted(image, draw_erased(place_key, image.shape[:2], scale, ratio), paint)

    return random_apply(apply, probability)

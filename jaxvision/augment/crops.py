"""Crops: the centre, the corners, a random position, a random position and size."""

import jax
import jax.numpy as jnp

from jaxvision import checks
from jaxvision.augment._resize import METHODS, output_size, resized_part
from jaxvision.augment.batching import Augmentation, check_image, check_key
from jaxvision.augment.random import draw_corner, draw_sides
from jaxvision.typing import Array, Key

PADDINGS = ("constant", "edge", "reflect", "symmetric", "wrap")  # modes of jax.numpy.pad


def draw_rectangle(key: Key, shape: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]) -> Array:
    """(top, left, height, width) of torchvision's RandomResizedCrop: the first attempt that fits, or the largest central crop."""
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
    drawn = jnp.any(fits)
    height, width = jnp.where(drawn, heights[first], fallback[0]), jnp.where(drawn, widths[first], fallback[1])
    top, left = draw_corner(top_key, left_key, shape, height, width)
    centred = jnp.array([(rows - fallback[0]) // 2, (columns - fallback[1]) // 2])
    return jnp.stack([jnp.where(drawn, top, centred[0]), jnp.where(drawn, left, centred[1]), height, width])


def center_rectangle(shape: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the central ``size`` of an image of ``shape``, which must not be smaller."""
    return *(round((outer - inner) / 2) for outer, inner in zip(shape, size, strict=True)), *size


def resized_center_crop(image: Array, shorter: int, size: int, *, method: str) -> Array:
    """The central [size, size, C] of an image [H, W, C] whose shorter side is resized to ``shorter``; only these pixels are computed."""
    check_image(image)
    shape = output_size(image.shape, shorter)
    if shape == image.shape[:2]:
        return center_crop(size)(None, image)
    return resized_part(image, (0, 0, *image.shape[:2]), shape, method=method, window=center_rectangle(shape, (size, size)))


def center_crop(size: int | tuple[int, int]) -> Augmentation:
    """The central [h, w] of an image: ``(key, image [H, W, C]) -> image [h, w, C]``. The key may be None.

    ``size``: (h, w), or one integer for both. Raises ValueError if the image is smaller.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jv.augment.center_crop((2, 4))(None, jnp.zeros((8, 8, 3))).shape
    (2, 4, 3)
    """
    height, width = checks.pair("size", size)

    def apply(key, image):
        check_image(image)
        if image.shape[0] < height or image.shape[1] < width:
            found = f"{image.shape[0]} x {image.shape[1]} pixels"
            raise ValueError(f"image: found {found}, expected at least the crop's {height} x {width}: resize it first")
        top, left, _, _ = center_rectangle(image.shape[:2], (height, width))
        return image[top : top + height, left : left + width]

    return apply


def five_crop(size: int | tuple[int, int]) -> Augmentation:
    """The four corners and the centre: ``(key, image [H, W, C]) -> images [5, h, w, C]``.

    In this order: top left, top right, bottom left, bottom right, centre. The key may be None. ``size``: (h, w), or one integer for both.
    Raises ValueError if the image is smaller.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jv.augment.five_crop(4)(None, jnp.zeros((8, 8, 3))).shape
    (5, 4, 4, 3)
    """
    height, width = checks.pair("size", size)
    center_of = center_crop(size)

    def apply(key, image):
        center = center_of(key, image)
        rows, columns = (slice(height), slice(image.shape[0] - height, None)), (slice(width), slice(image.shape[1] - width, None))
        return jnp.stack([*(image[row, column] for row in rows for column in columns), center])

    return apply


def random_crop(size: int | tuple[int, int], *, padding: int = 0, mode: str = "constant") -> Augmentation:
    """A random [h, w] of the padded image: ``(key, image [H, W, C]) -> image [h, w, C]``.

    ``size``: (h, w), or one integer for both; ``padding``: pixels added on each side first; ``mode``: the padding mode of
    ``jax.numpy.pad``: constant (black), edge, reflect, symmetric or wrap.

    Raises ValueError if the padded image is smaller than the crop, or for an unknown mode.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jv.augment.random_crop(32, padding=4)(jax.random.key(0), jnp.zeros((32, 32, 3))).shape
    (32, 32, 3)
    """
    height, width = checks.pair("size", size)
    checks.integer("padding", padding, at_least=0)
    checks.one_of("mode", mode, PADDINGS)

    def apply(key, image):
        check_key(key)
        check_image(image)
        padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode=mode)
        if padded.shape[0] < height or padded.shape[1] < width:
            found = f"{padded.shape[0]} x {padded.shape[1]} pixels with padding"
            raise ValueError(f"image: found {found}, expected at least the crop's {height} x {width}: increase padding")
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
) -> Augmentation:
    """A random crop of random size, resized: ``(key, image [H, W, C]) -> image [h, w, C]``.

    ``size``: (h, w), or one integer for both; ``scale``: range of the crop's area, as a fraction of the image's; ``ratio``: range of width
    / height, drawn log-uniformly; ``method``: the interpolation of ``resize``, with antialiasing. Source: Szegedy et al., Going Deeper with
    Convolutions, 2014; drawn as torchvision's RandomResizedCrop.

    Raises ValueError for a method other than bilinear, bicubic and nearest, or a range that is not positive and in order.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jax.eval_shape(jv.augment.random_resized_crop(8), jax.random.key(0), jnp.zeros((16, 24, 3))).shape
    (8, 8, 3)
    """
    checks.one_of("method", method, METHODS)
    checks.interval("scale", scale)
    checks.interval("ratio", ratio)
    target = checks.pair("size", size)

    def apply(key, image):
        check_key(key)
        check_image(image)
        return resized_part(image, draw_rectangle(key, image.shape[:2], scale, ratio), target, method=method)

    return apply

"""Rotation, shear, translation: every affine transformation is a 2 x 3 matrix and one resampling of the image.

Points are (x, y) in pixels from the centre of the image, with y downwards, as in torchvision's v2 functions.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import checks
from jaxvision.augment.batching import Augmentation, check_image, check_key
from jaxvision.augment.random import Parameter, check_parameter, draw
from jaxvision.typing import Array

METHODS = ("bilinear", "nearest")  # of interpolation
Color = float | Sequence[float]  # one number, or one for each channel


def color_like(image: Array, name: str, value: Color) -> Array:
    """A colour as an array of the image's dtype, () or [C]. Raises ValueError unless it is one number or one for each channel."""
    if np.ndim(value) > 1 or np.size(value) not in (1, image.shape[2]):
        raise ValueError(f"{name}: found shape {np.shape(value)}, expected one number or one for each of {image.shape[2]} channels")
    return jnp.asarray(value, image.dtype)


def affine_matrix(
    angle: float | Array = 0.0,
    translate: Sequence[float | Array] = (0.0, 0.0),
    scale: float | Array = 1.0,
    shear: Sequence[float | Array] = (0.0, 0.0),
    *,
    center: Sequence[float | Array] = (0.0, 0.0),
) -> Array:
    """[2, 3] that maps a point of the result to its point in the image, as torchvision's ``affine``; every value may be traced.

    ``angle``: degrees, clockwise; ``translate``: (x, y) in pixels, to the right and down; ``shear``: (x, y) in degrees; ``center``: the
    fixed point, (x, y) from the centre of the image. The image is sheared along x, then along y, scaled, rotated, and translated last.
    """
    turn, shear_x, shear_y = (jnp.deg2rad(jnp.asarray(degrees, jnp.float32)) for degrees in (angle, *shear))
    a = jnp.cos(turn - shear_y) / jnp.cos(shear_y)
    c = jnp.sin(turn - shear_y) / jnp.cos(shear_y)
    b = -a * jnp.tan(shear_x) - jnp.sin(turn)
    d = -c * jnp.tan(shear_x) + jnp.cos(turn)
    inverse = jnp.array([[d, -b], [-c, a]]) / scale  # the determinant of [[a, b], [c, d]] is 1
    (xx, xy), (yx, yy) = inverse
    x, y = center[0] + translate[0], center[1] + translate[1]
    shift = jnp.stack([center[0] - xx * x - xy * y, center[1] - yx * x - yy * y])
    return jnp.concatenate([inverse, shift[:, None]], axis=1)


def warped(image: Array, matrix: Array, *, method: str = "bilinear", fill: Color = 0.0) -> Array:
    """Resample an image [H, W, C]: the result at (x, y) is the image at ``matrix`` [2, 3] times (x, y, 1).

    ``method``: "bilinear" or "nearest"; ``fill``: the colour outside the image, one number or one for each channel. Without a fill, the
    pixels equal those of torchvision's ``affine``. With a fill, torchvision weights the fill twice along the image's edge: a white image on
    white gets a gray line there. Here it does not.
    """
    height, width = image.shape[:2]
    outside = color_like(image, "fill", fill)
    x = jnp.arange(width) - (width - 1) / 2  # [W]
    y = jnp.arange(height)[:, None] - (height - 1) / 2  # [H, 1]
    column = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] + (width - 1) / 2  # [H, W]
    row = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] + (height - 1) / 2

    def pixel(row: Array, column: Array) -> Array:
        row, column = row.astype(jnp.int32), column.astype(jnp.int32)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        value = image[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
        return jnp.where(inside[..., None], value, outside)  # [H, W, C]

    if method == "nearest":
        return pixel(jnp.round(row), jnp.round(column))
    top, left = jnp.floor(row), jnp.floor(column)
    down, right = (row - top)[..., None], (column - left)[..., None]
    above = (1 - right) * pixel(top, left) + right * pixel(top, left + 1)
    below = (1 - right) * pixel(top + 1, left) + right * pixel(top + 1, left + 1)
    return ((1 - down) * above + down * below).astype(image.dtype)


def _transformation(angle: Parameter, x: Parameter, y: Parameter, scale: Parameter, shear: tuple, method: str, fill: Color) -> Augmentation:
    """An affine transformation with six parameters, each fixed or drawn; ``x`` and ``y`` are fractions, rounded to whole pixels."""
    checks.one_of("method", method, METHODS)

    def apply(key, image):
        check_image(image)
        height, width = image.shape[:2]
        turn, right, down, size, shear_x, shear_y = draw(key, angle, x, y, scale, *shear)
        shift = jnp.round(jnp.multiply(right, width)), jnp.round(jnp.multiply(down, height))
        return warped(image, affine_matrix(turn, shift, size, (shear_x, shear_y)), method=method, fill=fill)

    return apply


def _negative(parameter: Parameter) -> Parameter:
    return (-parameter[1], -parameter[0]) if hasattr(parameter, "__len__") else -parameter


def rotate(degrees: Parameter, *, method: str = "bilinear", fill: Color = 0.0) -> Augmentation:
    """Rotate about the centre, counter-clockwise: ``(key, image [H, W, C]) -> image [H, W, C]``.

    ``degrees``: a number, or a range (low, high) to draw it from. ``rotate(30)`` rotates every image by 30 degrees; ``rotate((-30, 30))``
    draws the angle, as torchvision's RandomRotation(30). ``method``: "bilinear" or "nearest". ``fill``: the colour outside the image, one
    number or one for each channel. Corners that leave the frame are cut off.

    Raises ValueError for a range that is not in order, or an unknown method.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> image = jnp.array([[[1.0], [2.0]], [[3.0], [4.0]]])
    >>> jax.jit(jv.augment.rotate(90, method="nearest"))(None, image)[..., 0].tolist()
    [[2.0, 4.0], [1.0, 3.0]]
    """
    check_parameter("degrees", degrees)
    return _transformation(_negative(degrees), 0.0, 0.0, 1.0, (0.0, 0.0), method, fill)


def translate(x: Parameter = 0.0, y: Parameter = 0.0, *, method: str = "bilinear", fill: Color = 0.0) -> Augmentation:
    """Shift by ``x`` of the width to the right and ``y`` of the height down: ``(key, image [H, W, C]) -> image [H, W, C]``.

    ``x``, ``y``: fractions, each a number or a range (low, high) to draw it from; the shift is rounded to whole pixels. ``translate(0.1)``
    shifts every image; ``translate((-0.1, 0.1))`` draws. ``method``, ``fill``: as in ``rotate``.

    Raises ValueError for a range that is not in order, or an unknown method.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jax.jit(jv.augment.translate(0.5))(None, jnp.array([[[1.0], [2.0]]]))[0, :, 0].tolist()
    [0.0, 1.0]
    """
    check_parameter("x", x)
    check_parameter("y", y)
    return _transformation(0.0, x, y, 1.0, (0.0, 0.0), method, fill)


def shear(x: Parameter = 0.0, y: Parameter = 0.0, *, method: str = "bilinear", fill: Color = 0.0) -> Augmentation:
    """Shear about the centre, along x and along y: ``(key, image [H, W, C]) -> image [H, W, C]``.

    ``x``, ``y``: degrees from -89 to 89, as in torchvision's ``affine``, each a number or a range (low, high) to draw it from.
    ``shear(10)`` shears every image by 10 degrees; ``shear((-10, 10))`` draws. ``method``, ``fill``: as in ``rotate``.

    Raises ValueError for a range that is not in order or too large, or an unknown method.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jax.jit(jv.augment.shear(45, method="nearest"))(None, jnp.eye(3)[:, :, None])[..., 0].tolist()
    [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    """
    check_parameter("x", x, low=-89, high=89)
    check_parameter("y", y, low=-89, high=89)
    return _transformation(0.0, 0.0, 0.0, 1.0, (x, y), method, fill)


def affine(
    degrees: Parameter,
    *,
    translate: tuple[float, float] = (0.0, 0.0),
    scale: Parameter = 1.0,
    shear: Parameter | tuple[float, float, float, float] = 0.0,
    method: str = "bilinear",
    fill: Color = 0.0,
) -> Augmentation:
    """Rotate clockwise, scale, shear and translate at once: ``(key, image [H, W, C]) -> image [H, W, C]``.

    ``degrees``, ``scale``, ``shear`` (degrees along x): each a number or a range (low, high) to draw it from; a ``shear`` of four numbers
    holds the ranges along x and y. ``affine(10)`` rotates every image by 10 degrees; ``affine((-10, 10))`` draws, as torchvision's
    RandomAffine(10). ``translate``: the largest shifts (x, y), as fractions of width and height; the shift is always drawn, in both
    directions. ``method``, ``fill``: as in ``rotate``.

    Raises ValueError for a range that is not in order, a scale that is not positive, or an unknown method.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> operation = jv.augment.affine((-10, 10), translate=(0.1, 0.1), scale=(0.9, 1.1))
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    shears = (tuple(shear[:2]), tuple(shear[2:])) if hasattr(shear, "__len__") and len(shear) == 4 else (shear, 0.0)
    check_parameter("degrees", degrees)
    check_parameter("scale", scale, low=1e-6)
    for value in shears:
        check_parameter("shear", value, low=-89, high=89)
    if len(translate) != 2 or not all(0 <= part <= 1 for part in translate):
        raise ValueError(f"translate: found {translate}, expected the largest shifts (x, y), each a fraction from 0 to 1")
    x, y = ((-part, part) if part else 0.0 for part in translate)
    return _transformation(degrees, x, y, scale, shears, method, fill)


def quarter_turns(turns: int | tuple[int, int] = (0, 3)) -> Augmentation:
    """Rotate counter-clockwise by multiples of 90 degrees, exactly: ``(key, image [H, W, C]) -> image``.

    ``turns``: how many times 90 degrees, or the range (low, high) of a draw, both ends included. A fixed odd number swaps height and width;
    a draw needs square images.

    Raises ValueError if ``turns`` are not integers in order, or if a drawn rotation gets an image that is not square.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jv.augment.quarter_turns(1)(None, jnp.zeros((2, 4, 3))).shape
    (4, 2, 3)
    """
    low, high = turns if hasattr(turns, "__len__") else (turns, turns)
    if math.floor(low) != low or math.floor(high) != high or low > high:
        raise ValueError(f"turns: found {turns}, expected an integer or two integers (low, high) in order")

    def apply(key, image):
        check_image(image)
        if low == high:
            return jnp.rot90(image, low)
        check_key(key)
        if image.shape[0] != image.shape[1]:
            raise ValueError(f"image: found {image.shape[0]} x {image.shape[1]} pixels, expected a square image if the turns are drawn")
        count = jax.random.randint(key, (), low, high + 1) % 4
        half = jnp.where(count >= 2, jnp.rot90(image, 2), image)
        return jnp.where(count % 2 == 1, jnp.rot90(half), half)

    return apply

"""Rotations, shears, shifts: every affine map is one 2 x 3 matrix and one sampling of the image.

Points are (x, y) in pixels from the middle of the image, y downwards, as torchvision's v2 functions have them.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.augment.batching import check_image, check_key
from jaxvision.augment.options import check_one_of
from jaxvision.augment.random import Parameter, check_parameter, drawn
from jaxvision.typing import Array

METHODS = ("bilinear", "nearest")  # of sampling


def color_like(image: Array, name: str, value) -> Array:
    """``value`` as something that an image [H, W, C] can be painted with. Raises ValueError unless it is a number or one a channel."""
    if np.ndim(value) > 1 or np.size(value) not in (1, image.shape[2]):
        raise ValueError(f"{name}: found shape {np.shape(value)}, expected a number or one for each of {image.shape[2]} channels")
    return jnp.asarray(value, image.dtype)


def affine_matrix(angle=0.0, translate=(0.0, 0.0), scale=1.0, shear=(0.0, 0.0), *, center=(0.0, 0.0)) -> Array:
    """[2, 3]: where a point of the result comes from, as torchvision's ``affine`` moves the image; every value may be traced.

    ``angle``: degrees, clockwise; ``translate``: (x, y) in pixels, to the right and down; ``shear``: (x, y) in degrees; ``center``: what
    stays where it is, from the middle of the image. The image is sheared along x, then y, scaled, turned, and shifted last.
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


def warped(image: Array, matrix: Array, *, method: str = "bilinear", fill=0.0) -> Array:
    """An image [H, W, C] whose every point (x, y) comes from ``matrix`` [2, 3] times (x, y, 1).

    ``method``: "bilinear" or "nearest"; ``fill``: the ground around the image, a number or one a channel.
    torchvision's ``affine`` without a fill has the same pixels. With one, it weighs the ground twice along the image's edge: white on
    white gets a gray line there, and here does not.
    """
    height, width = image.shape[:2]
    ground = color_like(image, "fill", fill)
    x = jnp.arange(width) - (width - 1) / 2  # [W]
    y = jnp.arange(height)[:, None] - (height - 1) / 2  # [H, 1]
    column = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] + (width - 1) / 2  # [H, W]
    row = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] + (height - 1) / 2

    def pixel(row: Array, column: Array) -> Array:
        row, column = row.astype(jnp.int32), column.astype(jnp.int32)
        there = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        found = image[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
        return jnp.where(there[..., None], found, ground)  # [H, W, C]

    if method == "nearest":
        return pixel(jnp.round(row), jnp.round(column))
    top, left = jnp.floor(row), jnp.floor(column)
    down, right = (row - top)[..., None], (column - left)[..., None]
    above = (1 - right) * pixel(top, left) + right * pixel(top, left + 1)
    below = (1 - right) * pixel(top + 1, left) + right * pixel(top + 1, left + 1)
    return ((1 - down) * above + down * below).astype(image.dtype)


def _mover(angle: Parameter, x: Parameter, y: Parameter, scale: Parameter, shear: tuple, method: str, fill) -> Callable:
    """``(key, image) -> image`` moved by six parameters, each fixed or drawn; ``x`` and ``y`` are shares, moved by whole pixels."""
    check_one_of("method", method, METHODS)

    def apply(key, image):
        check_image(image)
        height, width = image.shape[:2]
        turn, right, down, size, shear_x, shear_y = drawn(key, angle, x, y, scale, *shear)
        shift = jnp.round(jnp.multiply(right, width)), jnp.round(jnp.multiply(down, height))
        return warped(image, affine_matrix(turn, shift, size, (shear_x, shear_y)), method=method, fill=fill)

    return apply


def _negative(parameter: Parameter) -> Parameter:
    return (-parameter[1], -parameter[0]) if hasattr(parameter, "__len__") else -parameter


def rotate(degrees: Parameter, *, method: str = "bilinear", fill=0.0) -> Callable:
    """Turned by exactly ``degrees``, or by a draw from (low, high): ``(key, image [H, W, C]) -> image [H, W, C]``.

    ``rotate(30)`` turns every image by 30; ``rotate((-30, 30))`` draws, as torchvision's RandomRotation(30). About the middle,
    counter-clockwise; ``method``, ``fill``: as in ``warped``. Corners that leave the frame are
    cut. Raises ValueError for a range that is none or another method.
    """
    check_parameter("degrees", degrees)
    return _mover(_negative(degrees), 0.0, 0.0, 1.0, (0.0, 0.0), method, fill)


def translate(x: Parameter = 0.0, y: Parameter = 0.0, *, method: str = "bilinear", fill=0.0) -> Callable:
    """Shifted by exactly (``x``, ``y``), or by a draw from a (low, high) of each: ``(key, image [H, W, C]) -> image [H, W, C]``.

    ``translate(0.1)`` shifts every image; ``translate((-0.1, 0.1))`` draws. Shares of the width, to the right, and of the height, down,
    in whole pixels.
    """
    check_parameter("x", x)
    check_parameter("y", y)
    return _mover(0.0, x, y, 1.0, (0.0, 0.0), method, fill)


def shear(x: Parameter = 0.0, y: Parameter = 0.0, *, method: str = "bilinear", fill=0.0) -> Callable:
    """Sheared by exactly (``x``, ``y``), or by a draw from a (low, high) of each: ``(key, image [H, W, C]) -> image [H, W, C]``.

    ``shear(10)`` shears every image by 10; ``shear((-10, 10))`` draws. About the middle, degrees as in torchvision's ``affine``, within 90.
    """
    check_parameter("x", x, low=-89, high=89)
    check_parameter("y", y, low=-89, high=89)
    return _mover(0.0, 0.0, 0.0, 1.0, (x, y), method, fill)


def affine(
    degrees: Parameter,
    *,
    translate: tuple[float, float] = (0.0, 0.0),
    scale: Parameter = 1.0,
    shear: Parameter | tuple[float, float, float, float] = 0.0,
    method: str = "bilinear",
    fill=0.0,
) -> Callable:
    """Turned, scaled, sheared by exactly what is given or a draw from (low, high), and shifted at random: ``(key, image) -> image``.

    ``affine(10)`` turns every image by 10; ``affine((-10, 10))`` draws, as torchvision's RandomAffine(10). ``degrees``: clockwise; so too
    ``scale``, and ``shear``: degrees along x, or the ranges along x and y in one row of four. Only ``translate`` always draws: the largest
    shifts either way, as shares of width and height. Images are [H, W, C].
    Raises ValueError for a range that is none, a scale that is not positive, or another method.
    """
    shears = (tuple(shear[:2]), tuple(shear[2:])) if hasattr(shear, "__len__") and len(shear) == 4 else (shear, 0.0)
    check_parameter("degrees", degrees)
    check_parameter("scale", scale, low=1e-6)
    for value in shears:
        check_parameter("shear", value, low=-89, high=89)
    if len(translate) != 2 or not all(0 <= share <= 1 for share in translate):
        raise ValueError(f"translate: found {translate}, expected the largest shares (x, y), each from 0 to 1")
    x, y = ((-share, share) if share else 0.0 for share in translate)
    return _mover(degrees, x, y, scale, shears, method, fill)


def quarter_turns(turns: int | tuple[int, int] = (0, 3)) -> Callable:
    """Turned counter-clockwise by right angles, exactly: ``(key, image [H, W, C]) -> image``.

    ``turns``: how many, or the least and the most of a draw. A fixed odd number exchanges height and width; a draw needs square images.
    Raises ValueError for turns that are no whole numbers in order, or an image that is not square for a draw.
    """
    low, high = turns if hasattr(turns, "__len__") else (turns, turns)
    if math.floor(low) != low or math.floor(high) != high or low > high:
        raise ValueError(f"turns: found {turns}, expected a whole number or two in order")

    def apply(key, image):
        check_image(image)
        if low == high:
            return jnp.rot90(image, low)
        check_key(key)
        if image.shape[0] != image.shape[1]:
            raise ValueError(f"image: {image.shape[0]} x {image.shape[1]} is not square; a drawn number of quarter turns needs one that is")
        count = jax.random.randint(key, (), low, high + 1) % 4
        half = jnp.where(count >= 2, jnp.rot90(image, 2), image)
        return jnp.where(count % 2 == 1, jnp.rot90(half), half)

    return apply

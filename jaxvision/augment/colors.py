"""Colours: brightness, contrast, saturation, hue, grayscale, and their jitter in a random order; pixels in [0, 1].

All agree with torchvision's v2 functions on float tensors. An image of one channel has no saturation and no hue: these leave it as it is.
"""

import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.augment.batching import check_key
from jaxvision.augment.choice import Parameter, check_parameter, drawing, drawn, random_apply
from jaxvision.augment.pixels import planar
from jaxvision.typing import Array

LUMA = (0.2989, 0.587, 0.114)  # shares of red, green and blue in gray: ITU-R 601-2 as torchvision rounds it
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
_ORDERS = np.array(list(itertools.permutations(range(4))))  # [24, 4]


def _check_channels(planes: Array) -> None:
    if len(planes) not in (1, 3):
        raise ValueError(f"image: found {len(planes)} channels, expected 1 (gray) or 3 (red, green, blue)")


def _gray(planes: Array) -> Array:
    """[H, W]"""
    _check_channels(planes)
    return sum(share * plane for share, plane in zip(LUMA, planes, strict=True)) if len(planes) == 3 else planes[0]


def _mean(values: Array) -> Array:
    """The mean over the last axis, of whole 65536ths: unlike a sum of floats, theirs does not depend on how the compiler splits a batch."""
    return jnp.sum(jnp.round(values * 2**16).astype(jnp.int32), axis=-1) / (2**16 * values.shape[-1])


def _level(gray: Array) -> Array:
    """The mean of a plane [H, W], within 2 ** -16."""
    return _mean(_mean(gray))


def _blended(planes: Array, factor: float | Array, other: float | Array) -> Array:
    """``factor`` of the planes and the rest of ``other``; a factor above 1 leads away from it."""
    return jnp.clip(factor * planes + (1 - factor) * other, 0, 1)


def _turned(planes: Array, shift: float | Array) -> Array:
    """Planes whose hue is turned by ``shift`` of the circle, with value and chroma as they were.

    The hue times the chroma takes the hue's place, so that there is nothing to divide by and gray is no exception. A channel is the value
    less a trapezoid of the distance, on the circle, between that and the opposite of the channel's own colour.
    """
    _check_channels(planes)
    if len(planes) == 1:
        return planes
    red, green, blue = planes
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    position = jnp.where(  # -3 to 3 chroma, which is the whole circle
        value == red, green - blue - 2 * chroma, jnp.where(value == green, blue - red, red - green + 2 * chroma)
    )
    opposite = (jnp.array([5, 3, 1]) + 6 * shift + 3) % 6 - 3  # [3]
    distance = jnp.abs(position + opposite[:, None, None] * chroma)  # [3, H, W]
    distance = jnp.minimum(distance, 6 * chroma - distance)
    return value - jnp.clip(2 * chroma - distance, 0, chroma)


def to_grayscale(image: Array) -> Array:
    """An image [H, W, C] with the gray of its pixels in every channel."""
    return planar(lambda planes: jnp.broadcast_to(_gray(planes), planes.shape))(image)


def adjust_brightness(image: Array, factor: float | Array) -> Array:
    """An image [H, W, C] times ``factor``, cut to [0, 1]: 0 is black, 1 the image."""
    return planar(lambda planes: _blended(planes, factor, 0))(image)


def adjust_contrast(image: Array, factor: float | Array) -> Array:
    """``factor`` of an image [H, W, C] and the rest of its mean gray, cut to [0, 1]: 0 is flat gray, 1 the image."""
    return planar(lambda planes: _blended(planes, factor, _level(_gray(planes))))(image)


def adjust_saturation(image: Array, factor: float | Array) -> Array:
    """``factor`` of an image [H, W, C] and the rest of its gray, cut to [0, 1]: 0 is gray, 1 the image."""
    return planar(lambda planes: _blended(planes, factor, _gray(planes)))(image)


def adjust_hue(image: Array, shift: float | Array) -> Array:
    """An image [H, W, C] with its hues turned by ``shift`` of the circle, from -0.5 to 0.5; 0 is the image, up to rounding."""
    return planar(lambda planes: _turned(planes, shift))(image)


def jittered(image: Array, order: Array, factors: Array) -> Array:
    """An image [H, W, C] after brightness, contrast, saturation and hue (``BRIGHTNESS`` to ``HUE``), in the ``order`` [4] given.

    ``factors`` [4]: of each, in the order of their names. Every step is a blend with some gray and a turn, with factors that make one
    of them idle: in a batch, whose images take the steps in different orders, each step is then one pass over the pixels.
    """

    def step(planes, place):
        operation, factor = place
        gray = _gray(planes)
        other = jnp.where(operation == CONTRAST, _level(gray), jnp.where(operation == SATURATION, gray, 0))
        blended = _blended(planes, jnp.where(operation == HUE, 1, factor), other)
        return _turned(blended, jnp.where(operation == HUE, factor, 0)), None

    return planar(lambda planes: jax.lax.scan(step, planes, (order, factors[order]))[0])(image)


def _limited(formula: Callable, name: str, parameter: Parameter, **limits: float) -> Callable:
    """``drawing`` of a formula and its one parameter, which lies within ``limits``."""
    check_parameter(name, parameter, **limits)
    return drawing(formula, parameter)


def brightness(factor: Parameter) -> Callable:
    """``adjust_brightness`` by a factor >= 0, fixed or drawn from (low, high): ``(key, image [H, W, C]) -> image [H, W, C]``."""
    return _limited(adjust_brightness, "factor", factor, low=0)


def contrast(factor: Parameter) -> Callable:
    """``adjust_contrast`` by a factor >= 0, fixed or drawn from (low, high): ``(key, image [H, W, C]) -> image [H, W, C]``."""
    return _limited(adjust_contrast, "factor", factor, low=0)


def saturation(factor: Parameter) -> Callable:
    """``adjust_saturation`` by a factor >= 0, fixed or drawn from (low, high): ``(key, image [H, W, C]) -> image [H, W, C]``."""
    return _limited(adjust_saturation, "factor", factor, low=0)


def hue(shift: Parameter) -> Callable:
    """``adjust_hue`` by a shift of -0.5 to 0.5, fixed or drawn from (low, high): ``(key, image [H, W, C]) -> image [H, W, C]``."""
    return _limited(adjust_hue, "shift", shift, low=-0.5, high=0.5)


def grayscale(*, probability: float = 1.0) -> Callable:
    """``to_grayscale`` with a probability (color drop): ``(key, image [H, W, C]) -> image [H, W, C]``."""
    return random_apply(lambda key, image: to_grayscale(image), probability)


def color_jitter(brightness: Parameter = 0.0, contrast: Parameter = 0.0, saturation: Parameter = 0.0, hue: Parameter = 0.0) -> Callable:
    """Brightness, contrast, saturation and hue in a random order: ``(key, image [H, W, C]) -> image [H, W, C]``.

    The first three are drawn from [max(0, 1 - value), 1 + value], hue's shift from [-value, value], all as torchvision's ColorJitter; a
    pair (low, high) is the range itself. Raises ValueError for a range outside [0, infinity), for hue outside [-0.5, 0.5].
    """
    ranges = []
    for name, value, middle, least, most in (
        ("brightness", brightness, 1.0, 0.0, math.inf),
        ("contrast", contrast, 1.0, 0.0, math.inf),
        ("saturation", saturation, 1.0, 0.0, math.inf),
        ("hue", hue, 0.0, -0.5, 0.5),
    ):
        if not hasattr(value, "__len__"):
            check_parameter(name, value, low=0.0, high=most)
            value = (max(least, middle - value), middle + value)
        check_parameter(name, value, low=least, high=most)
        ranges.append(value)

    def apply(key, image):
        check_key(key)
        order_key, factor_key = jax.random.split(key)
        order = jnp.asarray(_ORDERS)[jax.random.randint(order_key, (), 0, len(_ORDERS))]
        return jittered(image, order, jnp.stack(drawn(factor_key, *ranges)))

    return apply

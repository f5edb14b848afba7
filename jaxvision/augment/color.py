"""Colours: brightness, contrast, saturation, hue, grayscale, and their jitter in a random order; pixels in [0, 1].

All agree with torchvision's v2 functions on float tensors. An image of one channel has no saturation and no hue: these leave it as it is.
"""

import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import kernels
from jaxvision.augment.batching import check_image, check_key
from jaxvision.augment.pixels import planar
from jaxvision.augment.random import Parameter, check_parameter, drawing, drawn, random_apply
from jaxvision.kernels._color_jitter import blended, gray, level, turned
from jaxvision.typing import Array

_ORDERS = np.array(list(itertools.permutations(range(4))))  # [24, 4]


def to_grayscale(image: Array) -> Array:
    """An image [H, W, C] with the gray of its pixels in every channel."""
    return planar(lambda planes: jnp.broadcast_to(gray(planes), planes.shape))(image)


def adjust_brightness(image: Array, factor: float | Array) -> Array:
    """An image [H, W, C] times ``factor``, cut to [0, 1]: 0 is black, 1 the image."""
    return planar(lambda planes: blended(planes, factor, 0))(image)


def adjust_contrast(image: Array, factor: float | Array) -> Array:
    """``factor`` of an image [H, W, C] and the rest of its mean gray, cut to [0, 1]: 0 is flat gray, 1 the image."""
    return planar(lambda planes: blended(planes, factor, level(gray(planes))))(image)


def adjust_saturation(image: Array, factor: float | Array) -> Array:
    """``factor`` of an image [H, W, C] and the rest of its gray, cut to [0, 1]: 0 is gray, 1 the image."""
    return planar(lambda planes: blended(planes, factor, gray(planes)))(image)


def adjust_hue(image: Array, shift: float | Array) -> Array:
    """An image [H, W, C] with its hues turned by ``shift`` of the circle, from -0.5 to 0.5; 0 is the image, up to rounding."""
    return planar(lambda planes: turned(planes, shift))(image)


def jittered(image: Array, order: Array, factors: Array) -> Array:
    """An image [H, W, C] after brightness (0), contrast (1), saturation (2) and hue (3) in the ``order`` [4] given.

    ``factors`` [4]: of each, in the order of their names.
    """
    check_image(image)
    return kernels.jitter(image, jnp.asarray(order), jnp.asarray(factors))


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

"""Colour operations: brightness, contrast, saturation, hue, grayscale, and colour jitter in a random order; pixels in [0, 1].

They agree with torchvision's v2 functions on float tensors. Gray is 0.2989 R + 0.587 G + 0.114 B. An image of one channel has neither
saturation nor hue and is returned unchanged by these two.
"""

import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import kernels
from jaxvision.augment.batching import Augmentation, check_image, check_key
from jaxvision.augment.pixels import planar
from jaxvision.augment.random import Parameter, check_parameter, draw, from_formula, random_apply
from jaxvision.kernels._color_jitter import blended, gray, level, turned
from jaxvision.typing import Array

_ORDERS = np.array(list(itertools.permutations(range(4))))  # [24, 4]


def to_grayscale(image: Array) -> Array:
    """An image [H, W, C] with the gray of its pixels in every channel."""
    return planar(lambda planes: jnp.broadcast_to(gray(planes), planes.shape))(image)


def adjust_brightness(image: Array, factor: float | Array) -> Array:
    """``clip(factor * image, 0, 1)`` of an image [H, W, C]: 0 is black, 1 the image."""
    return planar(lambda planes: blended(planes, factor, 0))(image)


def adjust_contrast(image: Array, factor: float | Array) -> Array:
    """``clip(factor * image + (1 - factor) * mean(gray), 0, 1)`` of an image [H, W, C]: 0 is flat gray, 1 the image."""
    return planar(lambda planes: blended(planes, factor, level(gray(planes))))(image)


def adjust_saturation(image: Array, factor: float | Array) -> Array:
    """``clip(factor * image + (1 - factor) * gray, 0, 1)`` of an image [H, W, C]: 0 is gray, 1 the image."""
    return planar(lambda planes: blended(planes, factor, gray(planes)))(image)


def adjust_hue(image: Array, shift: float | Array) -> Array:
    """An image [H, W, C] whose hues in HSV are shifted by ``shift`` of the colour circle, from -0.5 to 0.5."""
    return planar(lambda planes: turned(planes, shift))(image)


def jittered(image: Array, order: Array, factors: Array) -> Array:
    """An image [H, W, C] after brightness (0), contrast (1), saturation (2) and hue (3) in the given ``order`` [4].

    ``factors`` [4]: one for each operation, in the order of these numbers.
    """
    check_image(image)
    return kernels.jitter(image, jnp.asarray(order), jnp.asarray(factors))


def _with_limits(formula: Callable, name: str, parameter: Parameter, **limits: float) -> Augmentation:
    """``from_formula`` with one parameter, which is checked to lie within ``limits``."""
    check_parameter(name, parameter, **limits)
    return from_formula(formula, parameter)


def brightness(factor: Parameter) -> Augmentation:
    """Multiply the image, ``clip(factor * image, 0, 1)``: ``(key, image [H, W, C]) -> image [H, W, C]``.

    ``factor``: a number >= 0 or a range (low, high) to draw it from; 0 gives black, 1 the image. Raises ValueError if it is negative.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jv.augment.brightness(2.0)(None, jnp.array([[[0.25, 0.5, 0.75]]])).tolist()
    [[[0.5, 1.0, 1.0]]]
    """
    return _with_limits(adjust_brightness, "factor", factor, low=0)


def contrast(factor: Parameter) -> Augmentation:
    """Scale the distance to the mean gray: ``(key, image [H, W, C]) -> image [H, W, C]``.

    Computes ``clip(factor * image + (1 - factor) * mean(gray), 0, 1)``. ``factor``: a number >= 0 or a range (low, high) to draw it from; 0
    gives a flat gray, 1 the image. Raises ValueError if it is negative.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> [round(float(value), 3) for value in jv.augment.contrast(0.5)(None, jnp.array([[[0.25], [0.75]]]))[0, :, 0]]
    [0.375, 0.625]
    """
    return _with_limits(adjust_contrast, "factor", factor, low=0)


def saturation(factor: Parameter) -> Augmentation:
    """Scale the distance to the pixel's gray: ``(key, image [H, W, C]) -> image [H, W, C]``.

    Computes ``clip(factor * image + (1 - factor) * gray, 0, 1)``. ``factor``: a number >= 0 or a range (low, high) to draw it from; 0 gives
    a gray image, 1 the image. Raises ValueError if it is negative.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> red, green, blue = jv.augment.saturation(0.0)(None, jnp.array([[[0.2, 0.5, 0.9]]]))[0, 0].tolist()
    >>> red == green == blue
    True
    """
    return _with_limits(adjust_saturation, "factor", factor, low=0)


def hue(shift: Parameter) -> Augmentation:
    """Rotate the colours on the HSV circle: ``(key, image [H, W, C]) -> image [H, W, C]``.

    Computes ``h <- (h + shift) mod 1`` in HSV. ``shift``: a number from -0.5 to 0.5, or a range (low, high) to draw it from; 1/3 turns red
    into green, 0 gives the image up to rounding. Raises ValueError if it is outside.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jax.jit(jv.augment.hue(1 / 3))(None, jnp.array([[[1.0, 0.0, 0.0]]])).round(3).tolist()
    [[[0.0, 1.0, 0.0]]]
    """
    return _with_limits(adjust_hue, "shift", shift, low=-0.5, high=0.5)


def grayscale(*, probability: float = 1.0) -> Augmentation:
    """Replace the colours by their gray, with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``.

    Computes 0.2989 R + 0.587 G + 0.114 B and writes it into every channel, so that C stays. SimCLR calls it colour drop.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> [round(float(value), 3) for value in jv.augment.grayscale()(None, jnp.array([[[1.0, 0.0, 0.0]]]))[0, 0]]
    [0.299, 0.299, 0.299]
    """
    return random_apply(lambda key, image: to_grayscale(image), probability)


def color_jitter(brightness: Parameter = 0.0, contrast: Parameter = 0.0, saturation: Parameter = 0.0, hue: Parameter = 0.0) -> Augmentation:
    """Change brightness, contrast, saturation and hue in a random order: ``(key, image [H, W, C]) -> image [H, W, C]``.

    A number v for one of the first three draws its factor from [max(0, 1 - v), 1 + v]; a number v for hue draws the shift from [-v, v]; a
    pair (low, high) is the range itself. As torchvision's ColorJitter.

    Raises ValueError if a factor can be negative, or if the hue's range leaves [-0.5, 0.5].

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jitter = jv.augment.color_jitter(brightness=(0.5, 0.5))
    >>> jitter(jax.random.key(0), jnp.ones((2, 2, 3)))[0, 0].tolist()
    [0.5, 0.5, 0.5]
    """
    ranges = []
    for name, value, identity, least, most in (
        ("brightness", brightness, 1.0, 0.0, math.inf),
        ("contrast", contrast, 1.0, 0.0, math.inf),
        ("saturation", saturation, 1.0, 0.0, math.inf),
        ("hue", hue, 0.0, -0.5, 0.5),
    ):
        if not hasattr(value, "__len__"):
            check_parameter(name, value, low=0.0, high=most)
            value = (max(least, identity - value), identity + value)
        check_parameter(name, value, low=least, high=most)
        ranges.append(value)

    def apply(key, image):
        check_key(key)
        order_key, factor_key = jax.random.split(key)
        order = jnp.asarray(_ORDERS)[jax.random.randint(order_key, (), 0, len(_ORDERS))]
        return jittered(image, order, jnp.stack(draw(factor_key, *ranges)))

    return apply

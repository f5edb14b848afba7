"""Tone curves: invert, solarize, posterize, equalize, autocontrast; pixels in [0, 1], each channel by itself.

All agree with torchvision's v2 functions on float tensors. The formulas come first, what a recipe is made of last.
"""

from collections.abc import Callable

import jax.numpy as jnp

from jaxvision.augment.random import Parameter, check_parameter, drawing, random_apply
from jaxvision.typing import Array

_LEVELS = 256


def inverted(image: Array) -> Array:
    """1 - image, of any shape."""
    return 1 - image


def solarized(image: Array, threshold: float) -> Array:
    """Pixels at least as bright as ``threshold`` inverted, of any shape."""
    return jnp.where(image >= threshold, 1 - image, image)


def posterized(image: Array, bits: int | Array) -> Array:
    """Pixels rounded down to the multiples of 2 ** -bits below 1, of any shape; ``bits``: 0 to 8, may be traced."""
    levels = jnp.left_shift(1, bits).astype(image.dtype)
    return jnp.clip(jnp.floor(image * levels), 0, levels - 1) / levels


def autocontrasted(image: Array) -> Array:
    """Every channel of an image [H, W, C] stretched to the whole of [0, 1]; a channel of one value stays as it is."""
    low, high = jnp.min(image, axis=(0, 1)), jnp.max(image, axis=(0, 1))  # [C]
    stretched = (image - low) / jnp.where(high > low, high - low, 1)
    return jnp.clip(jnp.where(high > low, stretched, image), 0, 1)


def equalized(image: Array) -> Array:
    """Every channel of an image [H, W, C] with its histogram of 256 levels flattened, as Pillow's ``ImageOps.equalize`` does.

    A channel whose pixels outside its brightest level number less than 255 stays as it is, in steps of 1 / 255.
    """
    level = jnp.floor(image.astype(jnp.float32) * (_LEVELS - 1e-3)).astype(jnp.int32)  # [H, W, C], torchvision's way to bytes
    channel = jnp.arange(image.shape[2])
    count = jnp.zeros((_LEVELS, image.shape[2]), jnp.int32).at[level, channel].add(1)  # [256, C]
    below = jnp.cumsum(count, axis=0) - count  # pixels darker than each level
    brightest = jnp.max(level, axis=(0, 1))  # [C]
    step = (image.shape[0] * image.shape[1] - count[brightest, channel]) // (_LEVELS - 1)
    curve = jnp.minimum((below + step // 2) // jnp.maximum(step, 1), _LEVELS - 1)
    curve = jnp.where(step > 0, curve, jnp.arange(_LEVELS)[:, None])  # [256, C]
    return (curve[level, channel] / (_LEVELS - 1)).astype(image.dtype)


def invert(*, probability: float = 1.0) -> Callable:
    """The negative, with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``."""
    return random_apply(drawing(inverted), probability)


def solarize(threshold: Parameter = 0.5, *, probability: float = 1.0) -> Callable:
    """What is at least as bright as ``threshold`` inverted, with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``.

    ``threshold``: in [0, 1], or a range (low, high) to draw it from. Raises ValueError for one outside.
    """
    check_parameter("threshold", threshold, low=0, high=1)
    return random_apply(drawing(solarized, threshold), probability)


def posterize(bits: int, *, probability: float = 1.0) -> Callable:
    """2 ** ``bits`` levels a channel, with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``.

    Raises ValueError unless ``bits`` is a whole number from 0 to 8.
    """
    if bits not in range(9):
        raise ValueError(f"bits: found {bits}, expected a whole number from 0 to 8")
    return random_apply(drawing(posterized, int(bits)), probability)


def equalize(*, probability: float = 1.0) -> Callable:
    """Histograms flattened, with a probability: ``(key, image [H, W, C]) -> image [H, W, C]`` in steps of 1 / 255."""
    return random_apply(drawing(equalized), probability)


def autocontrast(*, probability: float = 1.0) -> Callable:
    """Channels stretched to [0, 1], with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``."""
    return random_apply(drawing(autocontrasted), probability)

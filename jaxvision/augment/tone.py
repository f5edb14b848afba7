"""Tone curves: invert, solarize, posterize, equalize, autocontrast; pixels in [0, 1], each channel separately.

They agree with torchvision's v2 functions on float tensors. The formulas on arrays come first, then the operations made of them.
"""

import jax.numpy as jnp

from jaxvision import checks
from jaxvision.augment.batching import Augmentation
from jaxvision.augment.random import Parameter, check_parameter, from_formula, random_apply
from jaxvision.typing import Array

_LEVELS = 256


def inverted(image: Array) -> Array:
    """1 - image, of any shape."""
    return 1 - image


def solarized(image: Array, threshold: float | Array) -> Array:
    """Pixels at least as bright as ``threshold`` inverted, of any shape."""
    return jnp.where(image >= threshold, 1 - image, image)


def posterized(image: Array, bits: int | Array) -> Array:
    """Pixels rounded down to the multiples of 2 ** -bits below 1, of any shape; ``bits``: 0 to 8, may be traced."""
    levels = jnp.left_shift(1, bits).astype(image.dtype)
    return jnp.clip(jnp.floor(image * levels), 0, levels - 1) / levels


def autocontrasted(image: Array) -> Array:
    """Every channel of an image [H, W, C] stretched to [0, 1]; a constant channel stays as it is."""
    low, high = jnp.min(image, axis=(0, 1)), jnp.max(image, axis=(0, 1))  # [C]
    stretched = (image - low) / jnp.where(high > low, high - low, 1)
    return jnp.clip(jnp.where(high > low, stretched, image), 0, 1)


def equalized(image: Array) -> Array:
    """Every channel of an image [H, W, C] with its histogram of 256 levels flattened, as Pillow's ``ImageOps.equalize``.

    A channel with fewer than 255 pixels outside its brightest level keeps its values, rounded to steps of 1 / 255.
    """
    level = jnp.floor(image.astype(jnp.float32) * (_LEVELS - 1e-3)).astype(jnp.int32)  # [H, W, C], torchvision's conversion to bytes
    channel = jnp.arange(image.shape[2])
    count = jnp.zeros((_LEVELS, image.shape[2]), jnp.int32).at[level, channel].add(1)  # [256, C]
    below = jnp.cumsum(count, axis=0) - count  # pixels darker than each level
    brightest = jnp.max(level, axis=(0, 1))  # [C]
    step = (image.shape[0] * image.shape[1] - count[brightest, channel]) // (_LEVELS - 1)
    curve = jnp.minimum((below + step // 2) // jnp.maximum(step, 1), _LEVELS - 1)
    curve = jnp.where(step > 0, curve, jnp.arange(_LEVELS)[:, None])  # [256, C]
    return (curve[level, channel] / (_LEVELS - 1)).astype(image.dtype)


def invert(*, probability: float = 1.0) -> Augmentation:
    """The negative, ``1 - image``, with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jv.augment.invert()(None, jnp.array([[[0.0, 0.25, 1.0]]])).tolist()
    [[[1.0, 0.75, 0.0]]]
    """
    return random_apply(from_formula(inverted), probability)


def solarize(threshold: Parameter = 0.5, *, probability: float = 1.0) -> Augmentation:
    """Invert bright pixels, with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``.

    Computes ``where(image >= threshold, 1 - image, image)``. ``threshold``: a number in [0, 1], or a range (low, high) to draw it from.

    Raises ValueError if ``threshold`` is outside [0, 1].

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jv.augment.solarize(0.5)(None, jnp.array([[[0.25, 0.5, 0.75]]])).tolist()
    [[[0.25, 0.5, 0.25]]]
    """
    check_parameter("threshold", threshold, low=0, high=1)
    return random_apply(from_formula(solarized, threshold), probability)


def posterize(bits: int, *, probability: float = 1.0) -> Augmentation:
    """Reduce each channel to 2 ** ``bits`` levels, with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``.

    Computes ``min(floor(image * L), L - 1) / L`` with L = 2 ** bits.

    Raises ValueError unless ``bits`` is an integer from 0 to 8.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jv.augment.posterize(1)(None, jnp.array([[[0.25, 0.5, 1.0]]])).tolist()
    [[[0.0, 0.5, 0.5]]]
    """
    checks.integer("bits", bits, at_least=0, at_most=8)
    return random_apply(from_formula(posterized, int(bits)), probability)


def equalize(*, probability: float = 1.0) -> Augmentation:
    """Flatten each channel's histogram of 256 levels, with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``.

    A pixel becomes the share of pixels that are darker, in steps of 1 / 255, as Pillow's ``ImageOps.equalize`` computes it.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> dark = jnp.linspace(0, 0.25, 64 * 64).reshape(64, 64, 1)
    >>> float(jax.jit(jv.augment.equalize())(None, dark).max())
    1.0
    """
    return random_apply(from_formula(equalized), probability)


def autocontrast(*, probability: float = 1.0) -> Augmentation:
    """Stretch each channel to [0, 1], with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``.

    Computes ``(image - min) / (max - min)`` for each channel. A constant channel stays as it is.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> jv.augment.autocontrast()(None, jnp.array([[[0.25], [0.5], [0.75]]]))[0, :, 0].tolist()
    [0.0, 0.5, 1.0]
    """
    return random_apply(from_formula(autocontrasted), probability)

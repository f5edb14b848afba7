"""Pixels where they are: the planes of an image, flips, normalisation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxvision.augment.batching import check_image, check_key
from jaxvision.augment.choice import check_probability
from jaxvision.typing import Array


def planar(formula: Callable) -> Callable:
    """``(planes [C, H, W]) -> planes`` as ``(image [H, W, C]) -> image`` of the same dtype, computed in at least float32.

    Three channels in a row at the end of an array would leave a processor's vectors empty; of two formulas in a row, the compiler cancels
    the moves between them.
    """

    def apply(image: Array) -> Array:
        check_image(image)
        planes = jnp.moveaxis(image, 2, 0).astype(jnp.promote_types(image.dtype, jnp.float32))
        return jnp.moveaxis(formula(planes), 0, 2).astype(image.dtype)

    return apply


def _random_flip(axis: int, probability: float) -> Callable:
    check_probability(probability)

    def apply(key, image):
        check_key(key)
        check_image(image)
        places = jnp.arange(image.shape[axis])
        # Not a choice of two images: to make either, a compiler would repeat what came before, and round it otherwise.
        places = jnp.where(jax.random.bernoulli(key, float(probability)), places[::-1], places)
        return jnp.take(image, places, axis, mode="clip")

    return apply


def random_horizontal_flip(*, probability: float = 0.5) -> Callable:
    """Mirror left and right with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``."""
    return _random_flip(1, probability)


def random_vertical_flip(*, probability: float = 0.5) -> Callable:
    """Mirror top and bottom with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``."""
    return _random_flip(0, probability)


def normalize(mean, std) -> Callable:
    """(image - mean) / std channel by channel; ``mean`` and ``std`` are numbers or one of each a channel, for pixels in [0, 1].

    Raises ValueError for a ``std`` that is not positive, or values that are not one a channel.
    """
    mean, std = (tuple(value) if hasattr(value, "__len__") else (value,) for value in (mean, std))
    if not all(value > 0 for value in std):
        raise ValueError(f"std: found {std}, expected numbers above 0, which the image is divided by")

    def apply(key, image):
        check_image(image)
        if {len(mean), len(std)} - {1, image.shape[-1]}:
            raise ValueError(f"mean, std: found {len(mean)} and {len(std)} values, expected 1 or {image.shape[-1]}, one a channel")
        return (image - jnp.asarray(mean, image.dtype)) / jnp.asarray(std, image.dtype)

    return apply

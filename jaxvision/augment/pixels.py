"""Flips and normalisation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxvision.augment.batching import check_image, check_key


def _random_flip(axis: int, probability: float) -> Callable:
    if not 0 <= probability <= 1:
        raise ValueError(f"probability: found {probability}, expected 0 to 1")

    def apply(key, image):
        check_key(key)
        check_image(image)
        return jnp.where(jax.random.bernoulli(key, probability), jnp.flip(image, axis), image)

    return apply


def random_horizontal_flip(*, probability: float = 0.5) -> Callable:
    """Mirror left and right with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``."""
    return _random_flip(1, probability)


def random_vertical_flip(*, probability: float = 0.5) -> Callable:
    """Mirror top and bottom with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``."""
    return _random_flip(0, probability)


def normalize(mean, std) -> Callable:
    """(image - mean) / std channel by channel; ``mean`` and ``std`` are numbers or one of each a channel, for pixels in [0, 1]."""
    mean, std = (tuple(value) if hasattr(value, "__len__") else (value,) for value in (mean, std))

    def apply(key, image):
        check_image(image)
        if {len(mean), len(std)} - {1, image.shape[-1]}:
            raise ValueError(f"mean, std: found {len(mean)} and {len(std)} values, expected 1 or {image.shape[-1]}, one a channel")
        return (image - jnp.asarray(mean, image.dtype)) / jnp.asarray(std, image.dtype)

    return apply

"""Noise."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxvision.augment.batching import check_image, check_key
from jaxvision.augment.random import Parameter, check_parameter, drawn, random_apply


def gaussian_noise(std: Parameter = 0.1, *, mean: float = 0.0, clip: bool = True, probability: float = 1.0) -> Callable:
    """Independent normal noise on every value: ``(key, image [H, W, C]) -> image [H, W, C]``.

    ``std``: the noise's standard deviation, or a range (low, high) to draw it from; ``clip``: back into [0, 1] afterwards.
    Raises ValueError for a negative ``std``.
    """
    check_parameter("std", std, low=0)

    def apply(key, image):
        check_key(key)
        check_image(image)
        std_key, noise_key = jax.random.split(key)
        (deviation,) = drawn(std_key, std)
        noisy = image + (mean + deviation * jax.random.normal(noise_key, image.shape)).astype(image.dtype)
        return jnp.clip(noisy, 0, 1) if clip else noisy

    return random_apply(apply, probability)

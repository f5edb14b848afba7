"""Initializers: PyTorch's defaults, those of common networks, and classical ones to compare with.

Each is, or returns, a function ``(key, shape, dtype) -> array``. Kernels are [kh, kw, C / groups, D] or [in, out]: the product of all axes
but the last is the fan-in of an output unit.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxvision._public import set_public_names
from jaxvision.typing import Array, Key

__all__ = ["fan_in", "fan_in_scaled", "he_normal_fan_out", "small", "sparse", "torch_default", "truncated_normal", "uniform_bias"]
set_public_names(__name__, __all__)


def fan_in(shape: tuple[int, ...]) -> int:
    """Number of inputs of one output unit of a kernel: the product of all axes but the last.

    >>> from jaxvision.layers import initializers
    >>> initializers.fan_in((3, 3, 16, 32))
    144
    """
    return math.prod(shape[:-1])


def torch_default(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): PyTorch's default for the weights of linear and convolution layers.

    >>> import jax, jaxvision as jv
    >>> kernel = jv.layers.initializers.torch_default(jax.random.key(0), (4, 100))
    >>> bool((abs(kernel) <= 0.5).all())
    True
    """
    return uniform_bias(fan_in(shape))(key, shape, dtype)


def uniform_bias(inputs: int) -> Callable:
    """U(-1/sqrt(inputs), 1/sqrt(inputs)): PyTorch's default for a bias; ``inputs`` is the fan-in of the kernel that it belongs to.

    >>> import jax, jaxvision as jv
    >>> bias = jv.layers.initializers.uniform_bias(4)(jax.random.key(0), (100,))
    >>> bool((abs(bias) <= 0.5).all())
    True
    """
    bound = 1 / math.sqrt(inputs)
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


def he_normal_fan_out(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Normal with variance 2 / fan_out, fan_out = kh kw D (He et al., 2015), as in torchvision's residual networks.

    >>> import jax, jaxvision as jv
    >>> kernel = jv.layers.initializers.he_normal_fan_out(jax.random.key(0), (1, 1, 500, 200))
    >>> round(float(kernel.std()), 2)  # sqrt(2 / 200)
    0.1
    """
    deviation = math.sqrt(2 / (math.prod(shape[:-2]) * shape[-1]))
    return deviation * jax.random.normal(key, shape, dtype)


def truncated_normal(deviation: float = 0.02) -> Callable:
    """Normal with standard deviation ``deviation``, clipped to [-2, 2], as timm initializes transformers.

    The bounds are 2, not 2 standard deviations. They are so far out that clipping and truncation hardly differ.

    >>> import jax, jaxvision as jv
    >>> kernel = jv.layers.initializers.truncated_normal(0.02)(jax.random.key(0), (500, 200))
    >>> round(float(kernel.std()), 3)
    0.02
    """
    return lambda key, shape, dtype=jnp.float32: jnp.clip(deviation * jax.random.normal(key, shape, dtype), -2, 2)


def small(deviation: float = 0.01) -> Callable:
    """Normal with a fixed standard deviation. It suits shallow networks; in deep ones the activations vanish.

    >>> import jax, jaxvision as jv
    >>> kernel = jv.layers.initializers.small(0.1)(jax.random.key(0), (500, 200))
    >>> round(float(kernel.std()), 2)
    0.1
    """
    return lambda key, shape, dtype=jnp.float32: deviation * jax.random.normal(key, shape, dtype)


def fan_in_scaled(gain: float = 1.0) -> Callable:
    """Normal with variance gain^2 / fan_in, which keeps the scale of activations; gain is sqrt(2) with ReLU (He et al., 2015).

    >>> import jax, jaxvision as jv
    >>> kernel = jv.layers.initializers.fan_in_scaled()(jax.random.key(0), (100, 500))
    >>> round(float(kernel.std()), 2)  # 1 / sqrt(100)
    0.1
    """
    return lambda key, shape, dtype=jnp.float32: gain / math.sqrt(fan_in(shape)) * jax.random.normal(key, shape, dtype)


def sparse(inputs: int, deviation: float = 1.0) -> Callable:
    """Sparse initialization: each output unit has ``inputs`` random nonzero weights, which are normal (Martens, 2010, section 5).

    The initializer raises ValueError for a kernel whose fan-in is less than ``inputs``.

    >>> import jax, jaxvision as jv
    >>> kernel = jv.layers.initializers.sparse(3)(jax.random.key(0), (10, 2))
    >>> (kernel != 0).sum(0).tolist()
    [3, 3]
    """

    def initialize(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        count = fan_in(shape)
        if inputs > count:
            raise ValueError(f"inputs: found {inputs}, expected at most {count}, the fan-in of a kernel {shape}")
        choose, draw = jax.random.split(key)
        rank = jnp.argsort(jnp.argsort(jax.random.uniform(choose, (count, shape[-1])), axis=0), axis=0)
        weights = deviation * jax.random.normal(draw, (count, shape[-1]), dtype)
        return jnp.where(rank < inputs, weights, 0).reshape(shape)

    return initialize

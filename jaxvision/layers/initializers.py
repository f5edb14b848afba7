"""How parameters begin: PyTorch's defaults where a recipe is compared with PyTorch, and the classics of the lecture.

Each is a function ``(key, shape, dtype) -> array``; kernels are [kh, kw, C / groups, D] or [in, out], so that all axes but the last are
what one output unit reads (its fan-in).
"""

import math

import jax
import jax.numpy as jnp


def fan_in(shape: tuple[int, ...]) -> int:
    """How many inputs one output unit of a kernel reads."""
    return math.prod(shape[:-1])


def torch_default(key, shape, dtype=jnp.float32):
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): what PyTorch's linear and convolution layers do by default (He et al. with a = sqrt 5)."""
    return uniform_bias(fan_in(shape))(key, shape, dtype)


def uniform_bias(inputs: int):
    """U(-1/sqrt(inputs), 1/sqrt(inputs)) of any shape: PyTorch's default for the bias beside a kernel of that fan-in."""
    bound = 1 / math.sqrt(inputs)
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


def he_normal_fan_out(key, shape, dtype=jnp.float32):
    """Normal of variance 2 / fan_out, fan_out = kh kw D (He et al., 2015): torchvision's residual networks."""
    deviation = math.sqrt(2 / (math.prod(shape[:-2]) * shape[-1]))
    return deviation * jax.random.normal(key, shape, dtype)


def truncated_normal(deviation: float = 0.02):
    """Normal of the given deviation, cut at +-2 absolute, as timm draws its transformers' weights.

    The cut lies so far out that a sampler of truncated normals would hit its very bound now and then; clipping cannot.
    """
    return lambda key, shape, dtype=jnp.float32: jnp.clip(deviation * jax.random.normal(key, shape, dtype), -2, 2)


def small(deviation: float = 0.01):
    """Normal of a small deviation whatever the width: fine in shallow nets, vanishing in deep ones."""
    return lambda key, shape, dtype=jnp.float32: deviation * jax.random.normal(key, shape, dtype)


def fan_in_scaled(gain: float = 1.0):
    """Normal of variance gain^2 / fan_in: keeps the size of activations (gain sqrt 2 under ReLU: He et al., 2015)."""
    return lambda key, shape, dtype=jnp.float32: gain / math.sqrt(fan_in(shape)) * jax.random.normal(key, shape, dtype)


def sparse(inputs: int, deviation: float = 1.0):
    """Each output unit reads ``inputs`` of its inputs, drawn at random, with normal weights; the others are zero (Martens, 2010).

    Raises ValueError when a unit has fewer inputs than that.
    """

    def initialize(key, shape, dtype=jnp.float32):
        count = fan_in(shape)
        if inputs > count:
            raise ValueError(f"inputs: found {inputs}, expected at most {count}, the fan-in of a kernel {shape}")
        choose, draw = jax.random.split(key)
        rank = jnp.argsort(jnp.argsort(jax.random.uniform(choose, (count, shape[-1])), axis=0), axis=0)
        weights = deviation * jax.random.normal(draw, (count, shape[-1]), dtype)
        return jnp.where(rank < inputs, weights, 0).reshape(shape)

    return initialize

"""Layer normalisation: XLA reads and writes a row several times, forward and back; the compiled kernel of CPUs once."""

import math

import jax
import jax.numpy as jnp

from jaxvision import axis
from jaxvision.kernels import native
from jaxvision.kernels._differentiable import compiled, compiled_function
from jaxvision.typing import Array, Float


def standardized(x: Array, over: tuple[int, ...], epsilon: float, *, unbiased: bool = False, global_batch: bool = False) -> Array:
    """(x - mean) / sqrt(variance + epsilon) along the axes ``over``, in two passes.

    ``unbiased`` divides the squares by their number less one (without ``global_batch``). ``global_batch``: mean and variance are those of
    all shards; ``over`` then has the axis of the batch.
    """
    average = axis.mean if global_batch else lambda local: local
    centered = x - average(jnp.mean(x, axis=over, keepdims=True))
    variance = average(jnp.mean(jnp.square(centered), axis=over, keepdims=True))
    if unbiased:
        count = math.prod(x.shape[place] for place in over)
        variance = variance * (count / max(count - 1, 1))
    return centered * jax.lax.rsqrt(variance + epsilon)


def plain_layer_norm(x: Array, scale: Array, bias: Array, *, epsilon: float = 1e-6) -> Array:
    """As XLA reads it: the twin that the compiled form must equal."""
    return standardized(x, (-1,), epsilon) * scale + bias


def _forward(x: Array, scale: Array, bias: Array, *, epsilon: float) -> list[Array]:
    call = compiled("jaxvision_layer_norm", (0,), "br, r, r -> br", epsilon=epsilon)
    return [call(native.as_rows(x), scale, bias)[0].reshape(x.shape)]


def _gradients(x: Array, scale: Array, bias: Array, gradient: Array, *, epsilon: float) -> list[Array]:
    call = compiled("jaxvision_layer_norm_gradients", (0, 1, 2), "br, r, r, br -> br, r, r", epsilon=epsilon)
    to_x, *rest = call(native.as_rows(x), scale, bias, native.as_rows(gradient))
    return [to_x.reshape(x.shape), *rest]


_normalize = compiled_function("layer_norm", plain_layer_norm, _forward, _gradients, joins=False)


def layer_norm(x: Float[Array, "... C"], scale: Float[Array, "C"], bias: Float[Array, "C"], *, epsilon: float) -> Float[Array, "... C"]:
    """x less its mean, over its deviation (the root of its variance and ``epsilon``), times ``scale`` plus ``bias``, along the last axis.

    Ba et al., "Layer Normalization", 2016, equations 3 and 4.
    """
    if x.ndim > 1 and x.size and native.wanted(x, scale, bias):
        return _normalize(x, scale, bias, epsilon=float(epsilon))
    return plain_layer_norm(x, scale, bias, epsilon=epsilon)

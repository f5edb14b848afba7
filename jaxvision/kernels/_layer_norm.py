"""Layer normalization: XLA reads and writes a row several times in each pass, the compiled kernel once."""

import math

import jax
import jax.numpy as jnp

from jaxvision import axis
from jaxvision.kernels import native
from jaxvision.kernels._derivatives import Gradient, differentiable
from jaxvision.kernels._partitioning import in_parts
from jaxvision.kernels._primitive import Form, Kernel, always
from jaxvision.typing import Array, Float


def standardized(
    x: Float[Array, "..."], over: tuple[int, ...], epsilon: float, *, unbiased: bool = False, global_batch: bool = False
) -> Float[Array, "..."]:
    """(x - mean) / sqrt(variance + epsilon) along the axes ``over``, in two passes.

    ``unbiased`` divides the squares by their number less one (without ``global_batch``). ``global_batch``: mean and variance are those of
    all shards; ``over`` then has the axis of the batch.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.standardized(jnp.array([1.0, 3.0]), (0,), 0.0).tolist()
    [-1.0, 1.0]
    """
    average = axis.mean if global_batch else lambda local: local
    centered = x - average(jnp.mean(x, axis=over, keepdims=True))
    variance = average(jnp.mean(jnp.square(centered), axis=over, keepdims=True))
    if unbiased:
        count = math.prod(x.shape[place] for place in over)
        variance = variance * (count / max(count - 1, 1))
    return centered * jax.lax.rsqrt(variance + epsilon)


def plain_layer_norm(
    x: Float[Array, "... C"], scale: Float[Array, "C"], bias: Float[Array, "C"], *, epsilon: float = 1e-6
) -> Float[Array, "... C"]:
    """The reference implementation of ``layer_norm``, which the compiled form must equal.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.plain_layer_norm(jnp.array([[1.0, 3.0]]), jnp.ones(2), jnp.zeros(2)).round(3).tolist()
    [[-1.0, 1.0]]
    """
    return standardized(x, (-1,), epsilon) * scale + bias


def _by_kernel(x: Array, scale: Array, bias: Array, *, epsilon: float) -> Array:
    def part(x, scale, bias):
        rows = native.as_rows(x)
        return native.call("jaxvision_layer_norm", rows.shape, epsilon=epsilon)(rows, scale, bias)[0].reshape(x.shape)

    return in_parts(part, "b...r, r, r -> b...r")(x, scale, bias)


def _gradients_by_kernel(x: Array, scale: Array, bias: Array, gradient: Array, *, epsilon: float) -> list[Array]:
    def part(x, scale, bias, gradient):
        rows = native.as_rows(x)
        call = native.call("jaxvision_layer_norm_gradients", rows.shape, scale.shape, bias.shape, epsilon=epsilon)
        to_x, to_scale, to_bias = call(rows, scale, bias, native.as_rows(gradient))
        return [to_x.reshape(x.shape), to_scale, to_bias]

    return in_parts(part, "b...r, r, r, b...r -> b...r, r, r")(x, scale, bias, gradient)


_normalize = Kernel(
    "layer_norm", Form("cpu", native.rows_available, _by_kernel), Form(None, always, plain_layer_norm), batched=(True, False, False)
)
differentiable(_normalize, gradients=Gradient((Form("cpu", native.rows_available, _gradients_by_kernel),)))


def layer_norm(x: Float[Array, "... C"], scale: Float[Array, "C"], bias: Float[Array, "C"], *, epsilon: float) -> Float[Array, "... C"]:
    """Layer normalization along the last axis: scale (x - mean) / sqrt(variance + epsilon) + bias, the variance biased.

    Ba et al., "Layer Normalization", 2016, equations 3 and 4. Raises ValueError where ``scale`` or ``bias`` is not [C].

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.layer_norm(jnp.array([[1.0, 3.0]]), jnp.ones(2), jnp.zeros(2), epsilon=1e-6).round(3).tolist()
    [[-1.0, 1.0]]
    """
    for name, vector in (("scale", scale), ("bias", bias)):
        if vector.shape != x.shape[-1:]:
            raise ValueError(f"{name}: found shape {tuple(vector.shape)}, expected {tuple(x.shape[-1:])}, the last axis of x")
    return _normalize(x, scale, bias, epsilon=float(epsilon))

"""The exact GELU. The forward pass computes and keeps its derivative, so that the backward pass is one multiplication."""

import math

import jax
import jax.numpy as jnp

from jaxvision.typing import Array, Float, at_least_float32


def plain_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The reference implementation of ``gelu``: JAX's own, by erfc.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> round(kernels.plain_gelu(jnp.ones(())).item(), 3)
    0.841
    """
    return jax.nn.gelu(x, approximate=False)


def _cdf(x: Array) -> Array:
    return 0.5 * (1 + jax.lax.erf(x * math.sqrt(0.5)))


@jax.custom_jvp
def _gelu(x: Array) -> Array:
    return x * _cdf(x)


@_gelu.defjvp
def _(primals, tangents):
    (x,), (tangent,) = primals, tangents
    cdf = _cdf(x)
    slope = cdf + x * jnp.exp(-0.5 * jnp.square(x)) / math.sqrt(2 * math.pi)  # independent of the tangent: the forward pass keeps it
    return x * cdf, slope * tangent


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x Phi(x), with Phi the distribution function of a standard normal variable, exact and not by tanh.

    Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016. Computed in at least float32; the result has the dtype of ``x``.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> round(kernels.gelu(jnp.ones(())).item(), 3)
    0.841
    """
    return _gelu(at_least_float32(x)).astype(x.dtype)

"""The exact GELU: its gradient is at hand in the forward pass and costs one multiplication on the way back."""

import math

import jax
import jax.numpy as jnp

from jaxvision.typing import Array, Float, at_least_float32


def plain_gelu(x: Array) -> Array:
    """JAX's own, through erfc: the twin that the fast form must equal."""
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
    slope = cdf + x * jnp.exp(-0.5 * jnp.square(x)) / math.sqrt(2 * math.pi)  # does not depend on the tangent: it is what is kept
    return x * cdf, slope * tangent


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x times the share of a standard normal distribution below x (Hendrycks & Gimpel, "Gaussian Error Linear Units", 2016), not tanh's.

    Computed in float32 or wider; the dtype of ``x`` comes back.
    """
    return _gelu(at_least_float32(x)).astype(x.dtype)

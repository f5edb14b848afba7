"""Vectors divided by their Euclidean length, or the factors alone where a scaled copy of a large array would cost memory."""

import jax
import jax.numpy as jnp

from jaxvision.typing import Array, Float, at_least_float32


def _scale(rows: Array) -> tuple[Array, Array]:
    """(largest absolute entry of each row, 1 for a row of zeros; whether the row is not zero), both [...].

    Scaling by the largest entry first keeps the squares of very short and very long rows in range.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(rows), axis=-1))
    nonzero = ~(largest < jnp.finfo(rows.dtype).tiny)  # also true for nan
    return jnp.where(nonzero, largest, 1), nonzero


def unit_rows(features: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """Every row divided by its Euclidean length, in float32 or wider: v / ||v||.

    A row of zeros stays zero and gets no gradient; a row with a nan becomes nan.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> print(jv.kernels.unit_rows(jnp.array([[3.0, 4.0], [0.0, 0.0]])))
    [[0.6 0.8]
     [0.  0. ]]
    """
    features = at_least_float32(features)
    scale, nonzero = (array[..., None] for array in _scale(features))
    scaled = jnp.where(nonzero, features, 0) / scale
    square = jnp.sum(jnp.square(scaled), axis=-1, keepdims=True)
    return scaled / jnp.sqrt(jnp.where(nonzero, square, 1))


def inverse_lengths(prototypes: Float[Array, "K D"]) -> Float[Array, "K"]:
    """One over the Euclidean length of each row; 0, without a gradient, for a row of zeros.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> print(jv.kernels.inverse_lengths(jnp.array([[3.0, 4.0], [0.0, 0.0]])))
    [0.2 0. ]
    """
    scale, nonzero = _scale(prototypes)
    square = jnp.sum(jnp.square(prototypes / scale[..., None]), axis=-1)  # XLA fuses this: no scaled copy is made
    return jnp.where(nonzero, 1 / (scale * jnp.sqrt(jnp.where(nonzero, square, 1))), 0)

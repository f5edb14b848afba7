"""Vectors of length one: what cosine similarity compares."""

import jax
import jax.numpy as jnp

from jaxvision.typing import Array, Float


def unit_rows(features: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """Every row over its Euclidean length; a row of zeros stays zero and gets no gradient, one with a nan becomes nan.

    Rows are scaled by their largest entry first, so that neither very short nor very long ones are lost when they are squared.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(features), axis=-1, keepdims=True))
    something = ~(largest < jnp.finfo(features.dtype).tiny)  # nan, too, is something
    scaled = jnp.where(something, features, 0) / jnp.where(something, largest, 1)
    square = jnp.sum(jnp.square(scaled), axis=-1, keepdims=True)
    return scaled / jnp.sqrt(jnp.where(something, square, 1))

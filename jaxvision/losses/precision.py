"""The one rule of precision that every loss follows."""

import jax.numpy as jnp

from jaxvision.typing import Array


def at_least_float32(array: Array) -> Array:
    """bfloat16, float16 and integers raised to float32; float32 and float64 as they are."""
    array = jnp.asarray(array)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))

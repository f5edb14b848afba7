"""Activations that jax.nn does not have in our form, and what to watch in them."""

import jax.numpy as jnp

from jaxvision.typing import Array


def leaky_relu(x: Array, *, negative_slope: float = 0.01) -> Array:
    """x where it is positive, ``negative_slope`` x elsewhere (Maas et al., 2013): its gradient is never zero."""
    return jnp.where(x > 0, x, negative_slope * x)


def dead_units(activations: Array) -> Array:
    """The share of units (last axis) of activations [B, ..., C] that are zero or less at every place of every example."""
    if activations.ndim < 2:
        raise ValueError(f"activations: found shape {activations.shape}, expected [B, ..., C]")
    fires = jnp.any(activations > 0, axis=tuple(range(activations.ndim - 1)))  # [C]
    return 1 - jnp.mean(fires.astype(jnp.float32))

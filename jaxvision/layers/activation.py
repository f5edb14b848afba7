"""Activations that jax.nn does not have in this form, and a measure of units that never activate."""

import jax.numpy as jnp

from jaxvision.typing import Array


def leaky_relu(x: Array, *, negative_slope: float = 0.01) -> Array:
    r"""Leaky rectifier: x where x is positive, elsewhere negative_slope * x, so that the gradient is never zero.

    x has any shape. Source: Maas et al., "Rectifier Nonlinearities Improve Neural Network Acoustic Models", 2013.

    >>> import jaxvision as jv
    >>> import jax.numpy as jnp
    >>> jv.layers.leaky_relu(jnp.array([-2.0, 3.0]), negative_slope=0.5).tolist()
    [-1.0, 3.0]
    """
    return jnp.where(x > 0, x, negative_slope * x)


def dead_units(activations: Array) -> Array:
    """Fraction of units that are zero or negative at every position of every example; a scalar in [0, 1].

    A unit is an entry of the last axis of ``activations`` [B, ..., C], as they leave a ReLU. Such a unit has a zero gradient on this batch.
    Raises ValueError for an array with fewer than two axes.

    >>> import jaxvision as jv
    >>> import jax.numpy as jnp
    >>> float(jv.layers.dead_units(jnp.array([[0.0, 1.0], [0.0, 0.0]])))
    0.5
    """
    if activations.ndim < 2:
        raise ValueError(f"activations: found shape {activations.shape}, expected [B, ..., C]")
    active = jnp.any(activations > 0, axis=tuple(range(activations.ndim - 1)))  # [C]
    return 1 - jnp.mean(active.astype(jnp.float32))

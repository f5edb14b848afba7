"""Barlow Twins: the cross-correlation of the features of two views should be the identity matrix."""

import jax.numpy as jnp

from jaxvision import axis
from jaxvision.kernels import standardized
from jaxvision.losses._numerics import EXACT, like_shaped
from jaxvision.typing import Array, Float

_EPSILON = 1e-5  # added to the variances, as BatchNorm adds it


def barlow_twins(z1: Float[Array, "B D"], z2: Float[Array, "B D"], *, redundancy: float | Array = 0.005) -> Float[Array, ""]:
    """Distance of the cross-correlation matrix of two views from the identity.

        C_ij = mean_b a_bi c_bj, with a and c the features of z1 and z2 standardized over the global batch
        L = sum_i (1 - C_ii)^2 + redundancy sum_(i != j) C_ij^2

    ``z1`` and ``z2`` are the projections of two views, [B, D]; the result is a scalar. 1e-5 is added to each variance, so a constant
    feature (also a batch of one) has correlation 0.

    Raises ValueError unless both have one shape [B, D].
    Source: Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", 2021, equations 1 and 2.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> z = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])  # two uncorrelated features
    >>> print(f"{jv.losses.barlow_twins(z, z):.4f} {jv.losses.barlow_twins(z, -z):.2f}")
    0.0000 8.00
    """
    z1, z2 = like_shaped("z1, z2", z1, z2, "B D")
    first, second = (standardized(z, (0,), _EPSILON, global_batch=True) for z in (z1, z2))
    correlation = axis.mean(jnp.dot(first.T, second, precision=EXACT) / len(z1))  # [D, D]
    diagonal = jnp.diagonal(correlation)
    off_diagonal = correlation * (1 - jnp.eye(len(diagonal), dtype=diagonal.dtype))
    return jnp.sum(jnp.square(1 - diagonal)) + redundancy * jnp.sum(jnp.square(off_diagonal))

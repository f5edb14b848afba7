"""VICReg: two views agree, every feature varies, no two features say the same."""

import jax.numpy as jnp

from jaxvision import axis
from jaxvision.losses._numerics import EXACT, alike
from jaxvision.typing import Array, Float


def _moments(features: Array) -> tuple[Array, Array]:
    """(variance term, covariance term) of features [B, D] over the global batch, both with the unbiased denominator."""
    freedom = max(len(features) * axis.size() - 1, 1) / axis.size()
    centred = features - axis.mean(jnp.mean(features, axis=0))
    covariance = axis.mean(jnp.dot(centred.T, centred, precision=EXACT) / freedom)  # [D, D]
    variance = jnp.diagonal(covariance)
    others = covariance * (1 - jnp.eye(len(variance), dtype=variance.dtype))
    hinge = jnp.mean(jnp.maximum(1 - jnp.sqrt(variance + 1e-4), 0))
    return hinge, jnp.sum(jnp.square(others)) / len(variance)


def vicreg(
    z1: Float[Array, "B D"],
    z2: Float[Array, "B D"],
    *,
    invariance: float | Array = 25.0,
    variance: float | Array = 25.0,
    covariance: float | Array = 1.0,
) -> Float[Array, ""]:
    """invariance s(z1, z2) + variance (v(z1) + v(z2)) + covariance (c(z1) + c(z2)) (Bardes et al., "VICReg", 2022, equation 6).

    s is the mean square of z1 - z2 over batch and features (algorithm 1; equation 5 sums over features, with which the weights would not
    fit), v the mean over features of max(0, 1 - sqrt(variance + 1e-4)), c the squared covariances of different features over their number.
    Statistics are those of the global batch; a batch of one has none to vary. Raises ValueError where the shapes differ.
    """
    z1, z2 = alike("z1, z2", z1, z2, "B D")
    (hinge1, shared1), (hinge2, shared2) = _moments(z1), _moments(z2)
    return invariance * jnp.mean(jnp.square(z1 - z2)) + variance * (hinge1 + hinge2) + covariance * (shared1 + shared2)

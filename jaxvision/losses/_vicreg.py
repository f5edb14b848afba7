"""VICReg: invariance between views, variance of every feature, no covariance between features."""

import jax.numpy as jnp

from jaxvision import axis
from jaxvision.losses._numerics import EXACT, like_shaped
from jaxvision.typing import Array, Float


def _variance_and_covariance(features: Array) -> tuple[Array, Array]:
    """(variance term, covariance term) of features [B, D] over the global batch, both with the unbiased denominator B - 1."""
    denominator = max(len(features) * axis.size() - 1, 1) / axis.size()
    centered = features - axis.mean(jnp.mean(features, axis=0))
    covariance = axis.mean(jnp.dot(centered.T, centered, precision=EXACT) / denominator)  # [D, D]
    variance = jnp.diagonal(covariance)
    off_diagonal = covariance * (1 - jnp.eye(len(variance), dtype=variance.dtype))
    hinge = jnp.mean(jnp.maximum(1 - jnp.sqrt(variance + 1e-4), 0))
    return hinge, jnp.sum(jnp.square(off_diagonal)) / len(variance)


def vicreg(
    z1: Float[Array, "B D"],
    z2: Float[Array, "B D"],
    *,
    invariance: float | Array = 25.0,
    variance: float | Array = 25.0,
    covariance: float | Array = 1.0,
) -> Float[Array, ""]:
    """Weighted sum of an invariance, a variance and a covariance term.

        L = invariance s(z1, z2) + variance (v(z1) + v(z2)) + covariance (c(z1) + c(z2))
        s = mean_bd (z1_bd - z2_bd)^2
        v(z) = mean_d max(0, 1 - sqrt(Var(z_d) + 1e-4))
        c(z) = 1/D sum_(i != j) Cov(z)_ij^2

    ``z1`` and ``z2`` are the projections of two views, [B, D]; the result is a scalar. Variance and covariance are those of the global
    batch, with denominator B - 1; for a batch of one they are 0. s is a mean over batch and features, as in algorithm 1 (equation 5 sums
    over features, which does not fit the paper's weights).

    Raises ValueError unless both have one shape [B, D].
    Source: Bardes et al., "VICReg: Variance-Invariance-Covariance Regularization", 2022, equation 6 and algorithm 1.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> z = jnp.array([[2.0, 2.0], [2.0, -2.0], [-2.0, 2.0], [-2.0, -2.0]])  # enough variance, no covariance
    >>> print(jv.losses.vicreg(z, z), jv.losses.vicreg(z, z + 1))
    0.0 25.0
    """
    z1, z2 = like_shaped("z1, z2", z1, z2, "B D")
    (variance1, covariance1), (variance2, covariance2) = _variance_and_covariance(z1), _variance_and_covariance(z2)
    distance = jnp.mean(jnp.square(z1 - z2))
    return invariance * distance + variance * (variance1 + variance2) + covariance * (covariance1 + covariance2)

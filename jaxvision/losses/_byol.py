"""Losses of two views without negatives: BYOL and Barlow Twins."""

import jax
import jax.numpy as jnp

from jaxvision import axis
from jaxvision.losses._directions import unit_rows
from jaxvision.losses._numerics import EXACT, alike
from jaxvision.typing import Array, Float


def byol(prediction: Float[Array, "B D"], target: Float[Array, "B D"]) -> Float[Array, ""]:
    """Mean over B of 2 - 2 cos(prediction, target), the squared distance of the two directions; the target gets no gradient
    (Grill et al., "Bootstrap Your Own Latent", 2020, equation 2).

    A vector of zeros has the cosine 0 with everything. Raises ValueError where the shapes differ.
    """
    prediction, target = alike("prediction, target", prediction, target, "B D")
    ours, theirs = unit_rows(prediction), unit_rows(jax.lax.stop_gradient(target))
    # the distance keeps its digits where the directions all but agree; the lengths are one, or zero for a vector of zeros
    missing = sum(jnp.all(unit == 0, axis=-1).astype(unit.dtype) for unit in (ours, theirs))
    return jnp.mean(jnp.sum(jnp.square(ours - theirs), axis=-1) + missing)


def _standardized(features: Array) -> Array:
    """Every feature with mean 0 and variance 1 in the global batch; 1e-5 is added to the variance, as batch normalisation does."""
    centred = features - axis.mean(jnp.mean(features, axis=0))
    return centred / jnp.sqrt(axis.mean(jnp.mean(jnp.square(centred), axis=0)) + 1e-5)


def barlow_twins(z1: Float[Array, "B D"], z2: Float[Array, "B D"], *, redundancy: float | Array = 0.005) -> Float[Array, ""]:
    """sum_i (1 - C_ii)^2 + redundancy sum over i != j of C_ij^2, C the correlation of the features of two views over the global batch
    (Zbontar et al., "Barlow Twins", 2021, equations 1 and 2).

    1e-5 is added to each feature's variance, so that constant features (a batch of one) have correlation 0.
    Raises ValueError where the shapes differ.
    """
    z1, z2 = alike("z1, z2", z1, z2, "B D")
    correlation = axis.mean(jnp.dot(_standardized(z1).T, _standardized(z2), precision=EXACT) / len(z1))
    own = jnp.diagonal(correlation)
    others = correlation * (1 - jnp.eye(len(own), dtype=own.dtype))
    return jnp.sum(jnp.square(1 - own)) + redundancy * jnp.sum(jnp.square(others))

"""How features are spread: a loss that pushes neighbours apart, and the number of directions in use, which falls when features die."""

import jax
import jax.numpy as jnp

from jaxvision import axis
from jaxvision.losses._directions import unit_rows
from jaxvision.losses._numerics import EXACT, of_rank
from jaxvision.typing import Array, Float


def effective_rank(features: Float[Array, "B D"]) -> Float[Array, ""]:
    """(sum_i s_i)^2 / sum_i s_i^2 over the eigenvalues s of the features' covariance in the global batch: 1 to min(B - 1, D).

    The participation ratio: m where m directions have equal variance and the others none, 0 where all rows are equal. From traces alone,
    without eigenvalues: (trace C)^2 / trace C^2. Raises ValueError for another rank than [B, D].
    """
    features = axis.gather(of_rank("features", features, "B D"))
    centred = features - jnp.mean(features, axis=0)
    scale = jnp.max(jnp.abs(centred))
    centred = centred / jnp.where(scale > 0, scale, 1)
    small = jnp.dot(*(centred, centred.T) if len(centred) < centred.shape[1] else (centred.T, centred), precision=EXACT)
    square = jnp.sum(jnp.square(small))
    return jnp.square(jnp.trace(small)) / jnp.where(square > 0, square, 1)


def koleo(features: Float[Array, "B D"]) -> Float[Array, ""]:
    """Mean over B of -log(distance to the nearest other vector of the global batch + 1e-8), all vectors scaled to length one
    (Sablayrolles et al., "Spreading Vectors for Similarity Search", 2018, section 3; Oquab et al., "DINOv2", 2023, section 4).

    Two equal vectors give no gradient; a batch of one gives 0. Raises ValueError for another rank than [B, D].
    """
    unit = unit_rows(of_rank("features", features, "B D"))
    everyone, own = axis.gather(unit), axis.position(len(unit))
    if len(everyone) == 1:
        return 0 * jnp.sum(unit)
    likeness = jax.lax.stop_gradient(jnp.dot(unit, everyone.T, precision=EXACT))
    nearest = jnp.argmax(jnp.where(jnp.arange(len(everyone)) == own[:, None], -jnp.inf, likeness), axis=-1)
    square = jnp.sum(jnp.square(unit - everyone[nearest]), axis=-1)
    distance = jnp.where(square == 0, 0, jnp.sqrt(jnp.where(square == 0, 1, square)))  # the root has no slope at zero
    return -jnp.mean(jnp.log(distance + 1e-8))

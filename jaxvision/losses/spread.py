"""How many directions a batch of features uses: the figure that falls when features die."""

import jax.numpy as jnp

from jaxvision import axis
from jaxvision.losses.precision import at_least_float32
from jaxvision.typing import Array, Float


def effective_rank(features: Float[Array, "B D"]) -> Float[Array, ""]:
    """(sum_i s_i)^2 / sum_i s_i^2 over the eigenvalues s of the features' covariance in the global batch: 1 to min(B - 1, D).

    The participation ratio: m where m directions have equal variance and the others none, 0 where all rows are equal. From traces alone,
    without eigenvalues: (trace C)^2 / trace C^2. Raises ValueError for another rank than [B, D].
    """
    features = axis.gather(at_least_float32(features))
    if features.ndim != 2:
        raise ValueError(f"features: found shape {features.shape}, expected [B, D]")
    centred = features - jnp.mean(features, axis=0)
    scale = jnp.max(jnp.abs(centred))
    centred = centred / jnp.where(scale > 0, scale, 1)
    small = centred @ centred.T if centred.shape[0] < centred.shape[1] else centred.T @ centred  # the same eigenvalues, fewer zeros
    square = jnp.sum(jnp.square(small))
    return jnp.square(jnp.trace(small)) / jnp.where(square > 0, square, 1)

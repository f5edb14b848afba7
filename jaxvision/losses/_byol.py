"""The loss of BYOL, which SimSiam shares: a prediction of one view against the projection of another."""

import jax
import jax.numpy as jnp

from jaxvision.losses._numerics import like_shaped, unit_rows
from jaxvision.typing import Array, Float


def byol(prediction: Float[Array, "B D"], target: Float[Array, "B D"]) -> Float[Array, ""]:
    """Squared distance between the directions of two batches of vectors.

        L = mean_b || p_b / ||p_b|| - z_b / ||z_b|| ||^2 = mean_b (2 - 2 cos(p_b, z_b))

    ``prediction`` p and ``target`` z are [B, D]; the result is a scalar from 0 to 4. The target gets no gradient. A vector of zeros has
    the cosine 0 with every vector. SimSiam's D(p, z) = -mean cos is L / 2 - 1.

    Raises ValueError unless both have one shape [B, D].
    Source: Grill et al., "Bootstrap Your Own Latent", 2020, equation 2; Chen & He, "Exploring Simple Siamese Representation Learning",
    2021, equation 1.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> prediction, target = jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 3.0]])
    >>> print(jv.losses.byol(prediction, target), jv.losses.byol(prediction, 5 * prediction))
    2.0 0.0
    """
    prediction, target = like_shaped("prediction, target", prediction, target, "B D")
    p, z = unit_rows(prediction), unit_rows(jax.lax.stop_gradient(target))
    # The squared distance is accurate where the directions almost agree. A zero vector contributes 1 too little, so ``zeros`` adds it.
    zeros = sum(jnp.all(unit == 0, axis=-1).astype(unit.dtype) for unit in (p, z))
    return jnp.mean(jnp.sum(jnp.square(p - z), axis=-1) + zeros)

"""How evenly features cover the space: the KoLeo regularizer, and the effective rank that shows a collapse."""

import jax
import jax.numpy as jnp

from jaxvision import axis
from jaxvision.losses._numerics import EXACT, of_rank, unit_rows
from jaxvision.typing import Array, Float


def effective_rank(features: Float[Array, "B D"]) -> Float[Array, ""]:
    """Number of directions in which features vary (participation ratio).

        R = (sum_i s_i)^2 / sum_i s_i^2 = (trace C)^2 / trace(C^2), with s_i the eigenvalues of the covariance C of the global batch

    ``features`` are [B, D]; the result is a scalar from 1 to min(B - 1, D): m where m directions have equal variance and the others none.
    It is 0 where all rows are equal. No eigenvalues are computed.

    Raises ValueError unless ``features`` are [B, D].

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> z = jnp.array([[1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [-1.0, -1.0, 0.0]])
    >>> print(jv.losses.effective_rank(z), jv.losses.effective_rank(jnp.ones((4, 3))))
    2.0 0.0
    """
    features = axis.gather(of_rank("features", features, "B D"))
    centered = features - jnp.mean(features, axis=0)
    scale = jnp.max(jnp.abs(centered))
    centered = centered / jnp.where(scale > 0, scale, 1)
    # The Gram matrix has the eigenvalues of the covariance, so take the smaller of the two.
    gram = jnp.dot(*(centered, centered.T) if len(centered) < centered.shape[1] else (centered.T, centered), precision=EXACT)
    square = jnp.sum(jnp.square(gram))
    return jnp.square(jnp.trace(gram)) / jnp.where(square > 0, square, 1)


def koleo(features: Float[Array, "B D"]) -> Float[Array, ""]:
    """Regularizer that pushes every vector away from its nearest neighbour.

        L = -mean_b log(min_(j != b) ||u_b - u_j|| + 1e-8), with u_b = z_b / ||z_b||

    ``features`` z are [B, D]; neighbours come from the global batch; the result is a scalar. Two equal vectors give no gradient; a batch
    of one gives 0.

    Raises ValueError unless ``features`` are [B, D].
    Source: Sablayrolles et al., "Spreading Vectors for Similarity Search", 2018, section 3; Oquab et al., "DINOv2", 2023, section 4.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> print(f"{jv.losses.koleo(jnp.array([[2.0, 0.0], [-3.0, 0.0]])):.4f}")  # opposite directions: -log 2
    -0.6931
    """
    unit = unit_rows(of_rank("features", features, "B D"))
    everyone, own = axis.gather(unit), axis.position(len(unit))
    if len(everyone) == 1:
        return 0 * jnp.sum(unit)
    cosine = jax.lax.stop_gradient(jnp.dot(unit, everyone.T, precision=EXACT))
    nearest = jnp.argmax(jnp.where(jnp.arange(len(everyone)) == own[:, None], -jnp.inf, cosine), axis=-1)
    square = jnp.sum(jnp.square(unit - everyone[nearest]), axis=-1)
    distance = jnp.where(square == 0, 0, jnp.sqrt(jnp.where(square == 0, 1, square)))  # the root has no gradient at zero
    return -jnp.mean(jnp.log(distance + 1e-8))

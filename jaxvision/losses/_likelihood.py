"""How probable observed binary labels are under predicted probabilities."""

import jax.numpy as jnp

from jaxvision.typing import Array, Float, Shaped, at_least_float32


def _of_ones_and_zeros(probabilities: Array, labels: Array) -> tuple[Array, Array]:
    """The probabilities of the labels that are 1, elsewhere 1; and of a 1 where the label is 0, elsewhere 0."""
    probabilities, labels = at_least_float32(probabilities), jnp.asarray(labels)
    if probabilities.shape != labels.shape or probabilities.ndim != 1:
        raise ValueError(f"probabilities, labels: found shapes {probabilities.shape} and {labels.shape}, expected [N] twice")
    return jnp.where(labels == 1, probabilities, 1), jnp.where(labels == 1, 0, probabilities)


def likelihood(probabilities: Float[Array, "N"], labels: Shaped[Array, "N"]) -> Float[Array, ""]:
    """prod_i p_i^y_i (1 - p_i)^(1 - y_i): how probable the labels [N] in {0, 1} are when p_i is the probability of a 1.

    It falls towards zero with every further example; its logarithm does not. Raises ValueError where shapes differ.
    """
    ones, zeros = _of_ones_and_zeros(probabilities, labels)
    return jnp.prod(ones * (1 - zeros))


def negative_log_likelihood(probabilities: Float[Array, "N"], labels: Shaped[Array, "N"]) -> Float[Array, ""]:
    """-log of ``likelihood``, as a sum of logarithms; infinite where a label was impossible."""
    ones, zeros = _of_ones_and_zeros(probabilities, labels)
    return -jnp.sum(jnp.log(ones) + jnp.log1p(-zeros))  # log1p keeps the small probabilities that 1 - p rounds away

"""How probable observed binary labels are under predicted probabilities."""

import jax.numpy as jnp

from jaxvision.losses.precision import at_least_float32
from jaxvision.typing import Array, Float, Shaped


def _of_each_label(probabilities: Array, labels: Array) -> Array:
    probabilities, labels = at_least_float32(probabilities), jnp.asarray(labels)
    if probabilities.shape != labels.shape or probabilities.ndim != 1:
        raise ValueError(f"probabilities, labels: found shapes {probabilities.shape} and {labels.shape}, expected [N] twice")
    return jnp.where(labels == 1, probabilities, 1 - probabilities)


def likelihood(probabilities: Float[Array, "N"], labels: Shaped[Array, "N"]) -> Float[Array, ""]:
    """prod_i p_i^y_i (1 - p_i)^(1 - y_i): how probable the labels [N] in {0, 1} are when p_i is the probability of a 1.

    It falls towards zero with every further example; its logarithm does not. Raises ValueError where shapes differ.
    """
    return jnp.prod(_of_each_label(probabilities, labels))


def negative_log_likelihood(probabilities: Float[Array, "N"], labels: Shaped[Array, "N"]) -> Float[Array, ""]:
    """-log of ``likelihood``, as a sum of logarithms; infinite where a label was impossible."""
    return -jnp.sum(jnp.log(_of_each_label(probabilities, labels)))

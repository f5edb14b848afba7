"""Average precision: how well scores rank what is there above what is not."""

import jax
import jax.numpy as jnp

from jaxvision import axis
from jaxvision.typing import Array, Float, at_least_float32


def mean_average_precision(logits: Float[Array, "B K"], labels: Float[Array, "B K"]) -> Float[Array, ""]:
    """The mean over classes of sum_n (R_n - R_(n-1)) P_n, precision P and recall R at every threshold (as in scikit-learn).

    ``labels`` [B, K]: above one half is positive. Equal scores share one threshold. Classes without a positive image are left out; nan
    when there is none at all. The ranking is over the global batch; it has no useful gradient.
    Raises ValueError where shapes differ.
    """
    logits, labels = at_least_float32(logits), jnp.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape:
        raise ValueError(f"logits, labels: found shapes {logits.shape} and {labels.shape}, expected [B, K] twice")
    logits, positive = axis.gather(logits), axis.gather(labels) > 0.5
    order = jnp.argsort(-logits, axis=0)
    scores, hits = jnp.take_along_axis(logits, order, 0), jnp.take_along_axis(positive, order, 0).astype(logits.dtype)
    found = jnp.cumsum(hits, axis=0)
    precision = found / jnp.arange(1, len(scores) + 1)[:, None]
    # within a run of equal scores only its last row is a threshold: every row takes the precision of the end of its run
    ends = jnp.concatenate([scores[1:] != scores[:-1], jnp.ones((1, scores.shape[1]), bool)])
    place = jnp.where(ends, jnp.arange(len(scores))[:, None], len(scores))
    end_of_run = jax.lax.cummin(place, axis=0, reverse=True)
    total = found[-1]
    average = jnp.sum(hits * jnp.take_along_axis(precision, end_of_run, 0), axis=0) / jnp.maximum(total, 1)
    return jnp.sum(jnp.where(total > 0, average, 0)) / jnp.sum(total > 0)

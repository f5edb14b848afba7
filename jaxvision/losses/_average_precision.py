"""Average precision: how well scores rank the positive examples above the negative ones."""

import jax
import jax.numpy as jnp

from jaxvision import axis
from jaxvision.typing import Array, Float, at_least_float32


def mean_average_precision(logits: Float[Array, "B K"], labels: Float[Array, "B K"]) -> Float[Array, ""]:
    """Mean over classes of the area under the precision-recall curve, as scikit-learn defines it.

        mAP = mean_k sum_n (R_n - R_(n-1)) P_n, with precision P_n and recall R_n at the n-th threshold

    ``logits`` are scores [B, K]; ``labels`` [B, K] are positive above 1/2. Equal scores share one threshold. The ranking is over the global
    batch. Classes without a positive example are left out; the result, from 0 to 1, is nan when there is none. It has no useful gradient.

    Raises ValueError where the shapes differ.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> scores, labels = jnp.array([[0.9], [0.8], [0.1]]), jnp.array([[1], [0], [1]])
    >>> print(f"{jv.losses.mean_average_precision(scores, labels):.4f}")  # (1/1 + 2/3) / 2
    0.8333
    """
    logits, labels = at_least_float32(logits), jnp.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape:
        raise ValueError(f"logits, labels: found shapes {logits.shape} and {labels.shape}, expected [B, K] twice")
    logits, positive = axis.gather(logits), axis.gather(labels) > 0.5
    order = jnp.argsort(-logits, axis=0)
    scores, hits = jnp.take_along_axis(logits, order, 0), jnp.take_along_axis(positive, order, 0).astype(logits.dtype)
    found = jnp.cumsum(hits, axis=0)
    precision = found / jnp.arange(1, len(scores) + 1)[:, None]
    # In a run of equal scores only the last row is a threshold. Every row takes the precision at the end of its run.
    ends = jnp.concatenate([scores[1:] != scores[:-1], jnp.ones((1, scores.shape[1]), bool)])
    place = jnp.where(ends, jnp.arange(len(scores))[:, None], len(scores))
    end_of_run = jax.lax.cummin(place, axis=0, reverse=True)
    total = found[-1]
    average = jnp.sum(hits * jnp.take_along_axis(precision, end_of_run, 0), axis=0) / jnp.maximum(total, 1)
    return jnp.sum(jnp.where(total > 0, average, 0)) / jnp.sum(total > 0)

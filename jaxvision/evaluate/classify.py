"""The figures of classification over a whole source: what a training run calls after each epoch."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from jaxvision import losses
from jaxvision.evaluate.metrics import top_k


def scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """``loss`` (mean cross-entropy), ``top1`` and, with more than five classes, ``top5``, from logits [N, K] and labels [N].

    A label given as a distribution [N, K] counts as its largest class in the accuracies.
    """
    hard = labels if labels.ndim == 1 else labels.argmax(-1)
    found = {"loss": float(losses.cross_entropy(jnp.asarray(logits), jnp.asarray(labels))), "top1": top_k(logits, hard)}
    return found | ({"top5": top_k(logits, hard, k=5)} if logits.shape[1] > 5 else {})


def classification(infer: Callable, source) -> dict[str, float]:
    """``scores`` of a model over a source; ``infer(source) -> (logits [N, K], labels [N])``."""
    return scores(*infer(source))


def multilabel(infer: Callable, source) -> dict[str, float]:
    """``loss`` (binary cross-entropy) and ``map`` (mean average precision over all images) of labels [N, K] in {0, 1}."""
    logits, labels = infer(source)
    logits, labels = jnp.asarray(logits), jnp.asarray(labels, jnp.float32)
    return {
        "loss": float(losses.binary_cross_entropy(logits, labels)),
        "map": float(losses.mean_average_precision(logits, labels)),
    }

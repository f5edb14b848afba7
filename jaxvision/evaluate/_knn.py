"""Judging features by their neighbours: which images an encoder puts close together, and whether they are of one class."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.evaluate.inference import collect
from jaxvision.evaluate.labelled import check_features, check_pair
from jaxvision.evaluate.metrics import top_k
from jaxvision.losses._numerics import unit_rows

_ENTRIES = 2**26  # similarities held at once where no chunk is given: 256 MB


@partial(jax.jit, static_argnames="k")
def _nearest(memory, rows, k: int):
    """(similarity [m, k], indices [m, k]) of unit rows; ``top_k`` gives the lower index first where two are equal."""
    return jax.lax.top_k(jnp.matmul(unit_rows(rows), memory.T, precision="highest"), k)


def _chunk_of(count: int, chunk: int | None) -> int:
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk: found {chunk}, expected at least 1 row of the test features")
    return chunk or min(max(_ENTRIES // count, 1), 1024)


def _chunks(train_features, test_features, k: int, chunk: int | None):
    """(indices [m, k], similarity [m, k]) of ``chunk`` test rows after the other; the last, padded to the same shape, comes back short."""
    if not 1 <= k <= len(train_features):
        raise ValueError(f"k: found {k}, expected 1 to {len(train_features)}, the number of training features")
    size = min(_chunk_of(len(train_features), chunk), len(test_features))
    memory = jax.jit(unit_rows)(jnp.asarray(train_features))
    for first in range(0, len(test_features), size):
        rows = test_features[first : first + size]
        similarity, indices = _nearest(memory, jnp.asarray(np.pad(rows, [(0, size - len(rows)), (0, 0)])), k)
        yield np.asarray(indices)[: len(rows)], np.asarray(similarity)[: len(rows)]


def neighbours(train_features, test_features, k: int, *, chunk: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` training rows [N, D] of largest cosine similarity to each test row [M, D]: (indices [M, k], similarity [M, k]).

    Nearest first, of equally near ones the earlier; a row of zeros has similarity 0 to all. ``chunk``: test rows at once; None takes as
    many as need 256 MB. Raises ValueError for other shapes, features that are not finite, and ``k`` outside 1..N.
    """
    train_features, test_features = check_pair(train_features, test_features)
    found = list(_chunks(train_features, test_features, k, chunk))
    indices, similarity = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return indices, similarity


def _votes(labels: np.ndarray, similarity: np.ndarray, temperature: float, num_classes: int) -> np.ndarray:
    """[m, K] float64: the sum of exp(similarity / temperature) over the neighbours of each class, relative to the nearest one's."""
    similarity = similarity.astype(np.float64)
    weights = np.exp((similarity - similarity[:, :1]) / temperature)  # the nearest has 1: no temperature overflows
    votes = np.zeros((len(labels), num_classes))
    np.add.at(votes, (np.arange(len(labels))[:, None], labels), weights)
    return votes


def knn(
    train_features, train_labels, test_features, test_labels, *, k: int = 20, temperature: float = 0.07, chunk: int | None = None
) -> dict[str, float]:
    """``top1`` and, with more than five classes, ``top5`` of the weighted vote of the ``k`` nearest training rows.

    Features [N, D] and [M, D], labels [N] and [M]. Nearness is cosine similarity s, a vote weighs exp(s / temperature); of classes with
    equal votes the lower comes first. ``chunk``: test rows at once; None takes as many as need 256 MB. Raises ValueError for shapes that
    do not fit, missing labels, features that are not finite, ``k`` outside 1..N and a temperature that is not positive.
    Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021, appendix F.1 (k 20, temperature 0.07), after
    Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", 2018, section 3.4.
    """
    if not temperature > 0:
        raise ValueError(f"temperature: found {temperature}, expected a number above 0")
    train_features, train_labels = check_features("train", train_features, train_labels)
    test_features, test_labels = check_features("test", test_features, test_labels)
    num_classes, right, first = int(max(train_labels.max(), test_labels.max())) + 1, {}, 0
    check_pair(train_features, test_features)
    for indices, similarity in _chunks(train_features, test_features, k, chunk):
        votes, labels = _votes(train_labels[indices], similarity, temperature, num_classes), test_labels[first : first + len(indices)]
        for name, count in (("top1", 1), ("top5", 5)) if num_classes > 5 else (("top1", 1),):
            right[name] = right.get(name, 0) + round(top_k(votes, labels, k=count) * len(labels))
        first += len(indices)
    return {name: count / len(test_labels) for name, count in right.items()}


def nearest(memory, *, k: int = 20, temperature: float = 0.07) -> Callable:
    """The ``evaluate`` of an ``Experiment`` whose model is an encoder: ``(infer, source) -> {"top1": ...}`` by ``knn``.

    ``memory``: a labelled source, most often the training images without augmentation, whose features are computed anew at each
    judgement. Raises ValueError where it has fewer than ``k`` examples.
    """
    if not 1 <= k <= len(memory):
        raise ValueError(f"k: found {k}, expected 1 to {len(memory)}, the examples of memory")

    def judge(infer: Callable, source) -> dict[str, float]:
        return knn(*collect(infer(memory)), *collect(infer(source)), k=k, temperature=temperature)

    return judge

"""Nearest neighbours of features by cosine similarity, and the k-NN classifier that evaluates an encoder."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxvision import checks
from jaxvision.data.source import Source
from jaxvision.evaluate.feature_checks import check_features, check_pair
from jaxvision.evaluate.inference import collect
from jaxvision.evaluate.metrics import top_k
from jaxvision.losses._numerics import unit_rows

_MAX_SIMILARITIES = 2**26  # held at once if ``chunk`` is None: 256 MB


@partial(jax.jit, static_argnames="k")
def _nearest(memory, rows, k: int):
    """(similarity [m, k], indices [m, k]) of unit rows; ``top_k`` gives the lower index first where two are equal."""
    return jax.lax.top_k(jnp.matmul(unit_rows(rows), memory.T, precision="highest"), k)


def _chunk_of(count: int, chunk: int | None) -> int:
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk: found {chunk}, expected at least 1 row of the test features")
    return chunk or min(max(_MAX_SIMILARITIES // count, 1), 1024)


def _chunks(train_features, test_features, k: int, chunk: int | None):
    """Yield (indices [m, k], similarity [m, k]) for each chunk of the test rows. The last chunk is padded inside and has fewer rows."""
    if not 1 <= k <= len(train_features):
        raise ValueError(f"k: found {k}, expected 1 to {len(train_features)}, the number of training features")
    size = min(_chunk_of(len(train_features), chunk), len(test_features))
    memory = jax.jit(unit_rows)(jnp.asarray(train_features))
    for first in range(0, len(test_features), size):
        rows = test_features[first : first + size]
        similarity, indices = _nearest(memory, jnp.asarray(np.pad(rows, [(0, size - len(rows)), (0, 0)])), k)
        yield np.asarray(indices)[: len(rows)], np.asarray(similarity)[: len(rows)]


def neighbours(train_features: ArrayLike, test_features: ArrayLike, k: int, *, chunk: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` training rows [N, D] with the largest cosine similarity to each test row [M, D]: (indices [M, k], similarity [M, k]).

    The nearest row is first; equal similarities are in the order of the training rows. A row of zeros has similarity 0 to all rows.
    ``chunk``: test rows that are compared at once; None takes as many as fit in 256 MB of similarities. Raises ValueError for other shapes,
    features that are not finite, and ``k`` outside 1..N.

    >>> import jaxvision as jv
    >>> indices, similarity = jv.evaluate.neighbours([[1.0, 0.0], [0.0, 1.0]], [[3.0, 4.0]], k=2)
    >>> indices, similarity.round(2)
    (array([[1, 0]], dtype=int32), array([[0.8, 0.6]], dtype=float32))
    """
    train_features, test_features = check_pair(train_features, test_features)
    found = list(_chunks(train_features, test_features, k, chunk))
    indices, similarity = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return indices, similarity


def _votes(labels: np.ndarray, similarity: np.ndarray, temperature: float, num_classes: int) -> np.ndarray:
    """Votes [m, K] float64: the sum of exp(similarity / temperature) over the neighbours of each class, relative to the nearest one."""
    similarity = similarity.astype(np.float64)
    weights = np.exp((similarity - similarity[:, :1]) / temperature)  # at most 1, so that no temperature overflows
    votes = np.zeros((len(labels), num_classes))
    np.add.at(votes, (np.arange(len(labels))[:, None], labels), weights)
    return votes


def knn(
    train_features: ArrayLike,
    train_labels: ArrayLike,
    test_features: ArrayLike,
    test_labels: ArrayLike,
    *,
    k: int = 20,
    temperature: float = 0.07,
    chunk: int | None = None,
) -> dict[str, float]:
    """Accuracy of the weighted k-nearest-neighbour classifier: ``top1`` and, with more than five classes, ``top5``.

    Features [N, D] and [M, D], labels [N] and [M]. The score of class c for a test row x is the sum over its k nearest training rows x_i:

        score(c) = sum_i exp(cos(x, x_i) / temperature) [label_i = c]

    Of classes with equal scores the lower one comes first. ``chunk``: see ``neighbours``. Raises ValueError for shapes that do not match,
    missing labels, features that are not finite, ``k`` outside 1..N and a ``temperature`` that is not positive.
    Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021, appendix F.1 (k 20, temperature 0.07), after
    Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", 2018, section 3.4.

    >>> import jaxvision as jv
    >>> features, labels = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], [0, 0, 1]
    >>> jv.evaluate.knn(features, labels, [[2.0, 0.1], [0.1, 3.0]], [0, 1], k=1)
    {'top1': 1.0}
    """
    checks.positive(temperature=temperature)
    train_features, train_labels = check_features("train", train_features, train_labels)
    test_features, test_labels = check_features("test", test_features, test_labels)
    num_classes, correct, first = int(max(train_labels.max(), test_labels.max())) + 1, {}, 0
    check_pair(train_features, test_features)
    for indices, similarity in _chunks(train_features, test_features, k, chunk):
        votes, labels = _votes(train_labels[indices], similarity, temperature, num_classes), test_labels[first : first + len(indices)]
        for name, count in (("top1", 1), ("top5", 5)) if num_classes > 5 else (("top1", 1),):
            correct[name] = correct.get(name, 0) + round(top_k(votes, labels, k=count) * len(labels))
        first += len(indices)
    return {name: count / len(test_labels) for name, count in correct.items()}


def nearest(memory: Source, *, k: int = 20, temperature: float = 0.07) -> Callable:
    """A function for ``Experiment(evaluate=...)`` whose model is an encoder: the ``knn`` accuracy of a source, ``{"top1": ...}``.

    ``memory``: a labelled source, usually the training images without augmentation. Its features are computed again in each evaluation.
    Raises ValueError if it has fewer than ``k`` examples.

    >>> import jaxvision as jv
    >>> callable(jv.evaluate.nearest(jv.data.digits("train"), k=20))
    True
    """
    if not 1 <= k <= len(memory):
        raise ValueError(f"k: found {k}, expected 1 to {len(memory)}, the number of examples in memory")

    def evaluate(infer: Callable, source: Source) -> dict[str, float]:
        return knn(*collect(infer(memory)), *collect(infer(source)), k=k, temperature=temperature)

    return evaluate

"""Accuracy of a probe that is fitted on a small part of the labels."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from jaxvision import checks, data
from jaxvision.evaluate._linear_probe import linear_probe
from jaxvision.evaluate.feature_checks import check_features


def draw_rows(labels: np.ndarray, amount: float | int, *, seed: int) -> np.ndarray:
    """The rows [n] that ``data.few_labels`` draws from labels [N]: a fraction of each class (float) or a number of each class (int)."""
    return data.few_labels(data.arrays(np.zeros((len(labels), 1, 1), np.uint8), labels), amount, seed=seed).indices


def few_labels(
    train_features: ArrayLike,
    train_labels: ArrayLike,
    test_features: ArrayLike,
    test_labels: ArrayLike,
    *,
    shares: Sequence[float | int] = (0.01, 0.1),
    seeds: int = 3,
    probe: Callable | None = None,
) -> list[dict]:
    """Test accuracy of a probe that is fitted on a part of the training rows, for each of the ``shares``.

    Features [N, D] and [M, D], labels [N] and [M]. A share is a float, the fraction of each class, or an int, the number of rows of each
    class. It is drawn ``seeds`` times, as ``jv.data.few_labels`` draws it. Returns one dict for each share: ``share``, ``labels`` (the
    number of rows), ``seeds``, ``top1`` (the mean over the draws) and ``std`` (the sample standard deviation; 0 for one seed).
    ``probe``: ``(train_features, train_labels, test_features, test_labels) -> {"top1": ...}``. The default is ``linear_probe`` with
    ``regularization=0.1``, because so few labels leave no rows to select it. Raises ValueError for an invalid share and ``seeds`` below 1.

    >>> import jaxvision as jv  # slow
    >>> import numpy as np
    >>> features, labels = np.eye(2)[np.arange(40) % 2], np.arange(40) % 2
    >>> jv.evaluate.few_labels(features, labels, features, labels, shares=(2,), seeds=2)
    [{'share': 2, 'labels': 4, 'seeds': 2, 'top1': 1.0, 'std': 0.0}]
    """
    checks.integer("seeds", seeds)
    train_features, train_labels = check_features("train", train_features, train_labels)
    probe = probe or (lambda *pairs: linear_probe(*pairs, regularization=0.1))
    rows = []
    for share in shares:
        parts = [draw_rows(train_labels, share, seed=seed) for seed in range(seeds)]
        accuracies = [probe(train_features[part], train_labels[part], test_features, test_labels)["top1"] for part in parts]
        std = float(np.std(accuracies, ddof=1)) if seeds > 1 else 0.0
        rows.append({"share": share, "labels": len(parts[0]), "seeds": seeds, "top1": float(np.mean(accuracies)), "std": std})
    return rows

"""How far features go when only a few of their labels are known."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxvision import data
from jaxvision.evaluate._linear_probe import linear_probe
from jaxvision.evaluate.labelled import check_features


def drawn_rows(labels: np.ndarray, amount: float | int, *, seed: int) -> np.ndarray:
    """The rows [n] that ``data.few_labels`` draws from labels [N]: a share of every class, or as many of each."""
    return data.few_labels(data.arrays(np.zeros((len(labels), 1, 1), np.uint8), labels), amount, seed=seed).indices


def few_labels(
    train_features,
    train_labels,
    test_features,
    test_labels,
    *,
    shares: Sequence[float | int] = (0.01, 0.1),
    seeds: int = 3,
    probe: Callable | None = None,
) -> list[dict]:
    """A probe fitted on a part of the training rows: ``{"share", "labels", "seeds", "top1", "spread"}`` for each of the ``shares``.

    Features [N, D] and [M, D], labels [N] and [M]. A share is drawn by class, as ``data.few_labels`` does (a float: of every class; an int:
    as many of each), ``seeds`` times; ``labels`` is how many it holds, ``top1`` the mean and ``spread`` the standard deviation (of a
    sample; 0 for one seed). ``probe``: ``(train_features, train_labels, test_features, test_labels) -> {"top1": ...}``; without one a
    linear probe of penalty 0.1, for so few labels leave none to choose it by. Raises ValueError for a share that is none and for
    ``seeds`` below 1.
    """
    if seeds < 1:
        raise ValueError(f"seeds: found {seeds}, expected at least 1")
    train_features, train_labels = check_features("train", train_features, train_labels)
    probe = probe or (lambda *pairs: linear_probe(*pairs, regularization=0.1))
    rows = []
    for share in shares:
        parts = [drawn_rows(train_labels, share, seed=seed) for seed in range(seeds)]
        found = [probe(train_features[part], train_labels[part], test_features, test_labels)["top1"] for part in parts]
        spread = float(np.std(found, ddof=1)) if seeds > 1 else 0.0
        rows.append({"share": share, "labels": len(parts[0]), "seeds": seeds, "top1": float(np.mean(found)), "spread": spread})
    return rows

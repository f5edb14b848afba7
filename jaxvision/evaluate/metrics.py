"""Figures of a classifier's outputs, on numpy arrays."""

import numpy as np


def _classes(name: str, values: np.ndarray, num_classes: int) -> np.ndarray:
    """Class numbers as int64, wide enough to compute with; raises ValueError for one outside 0..num_classes-1."""
    if values.size and not (0 <= values.min() and values.max() < num_classes):
        raise ValueError(f"{name}: found classes {values.min()} to {values.max()}, expected 0 to {num_classes - 1}")
    return values.astype(np.int64, casting="same_kind")


def _check(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(f"logits, labels: found shapes {logits.shape} and {labels.shape}, expected [N, K] and [N] with N of at least 1")
    return logits, _classes("labels", labels, logits.shape[1])


def top_k(logits: np.ndarray, labels: np.ndarray, *, k: int = 1) -> float:
    """The share of rows of logits [N, K] whose label [N] is among the ``k`` largest; of equal logits the lower class comes first.

    A row whose label has the logit nan is never right. Raises ValueError for other shapes, labels outside 0..K-1, ``k`` outside 1..K.
    """
    logits, labels = _check(logits, labels)
    if not 1 <= k <= logits.shape[1]:
        raise ValueError(f"k: found {k}, expected 1 to {logits.shape[1]}, the number of classes")
    own = np.take_along_axis(logits, labels[:, None], axis=1)  # [N, 1]
    ahead = ~(logits <= own) | ((logits == own) & (np.arange(logits.shape[1]) < labels[:, None]))
    return float((ahead.sum(1) < k).mean())


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts [K, K] int: row the true class, column the predicted one.

    Raises ValueError for shapes other than [N] twice and for classes outside 0..K-1.
    """
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    if predicted.ndim != 1 or predicted.shape != labels.shape:
        raise ValueError(f"predicted, labels: found shapes {predicted.shape} and {labels.shape}, expected [N] twice")
    predicted, labels = _classes("predicted", predicted, num_classes), _classes("labels", labels, num_classes)
    return np.bincount(labels * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)  # [K, K]


def per_class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Each class's share of right answers [K] from a confusion matrix [K, K]; nan for a class that does not occur."""
    count = confusion.sum(1)
    return np.divide(np.diag(confusion), count, out=np.full(len(confusion), np.nan), where=count > 0)

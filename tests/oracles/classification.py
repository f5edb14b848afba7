"""The classification losses and their gradients, written from their definitions in float64 numpy, one example at a time."""

import numpy as np


def log_softmax(row: np.ndarray) -> np.ndarray:
    """log(exp(x_k) / sum_j exp(x_j)) of one row."""
    return row - row.max() - np.log(np.sum(np.exp(row - row.max())))


def cross_entropy(logits, labels, *, label_smoothing: float = 0.0, class_weights=None) -> tuple[float, np.ndarray]:
    """The loss and its gradient [B, K] for class numbers [B] or distributions [B, K]."""
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    count, classes = logits.shape
    weights = np.ones(classes) if class_weights is None else np.asarray(class_weights, np.float64)
    numbered = labels.ndim == 1
    total, gradient, denominator = 0.0, np.zeros_like(logits), 0.0
    for i in range(count):
        target = np.eye(classes)[labels[i]] if numbered else labels[i].astype(np.float64)
        part = weights * ((1 - label_smoothing) * target + label_smoothing / classes)
        logs = log_softmax(logits[i])
        total -= np.sum(part * logs)
        gradient[i] = np.sum(part) * np.exp(logs) - part
        denominator += weights[labels[i]] if numbered else 1.0
    return total / denominator, gradient / denominator


def binary_cross_entropy(logits, labels, *, class_weights=1.0, positive_weights=1.0) -> tuple[float, np.ndarray]:
    """The loss and its gradient [B, K] for logits small enough that the plain logarithms exist."""
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    chance = 1 / (1 + np.exp(-logits))
    positive, weights = np.asarray(positive_weights, np.float64), np.asarray(class_weights, np.float64)
    loss = -weights * (positive * labels * np.log(chance) + (1 - labels) * np.log(1 - chance))
    gradient = weights * ((1 - labels) * chance - positive * labels * (1 - chance))
    return loss.mean(), gradient / logits.size


def average_precision(scores, labels) -> float:
    """Mean precision at the rank of every positive of one class; no two scores are equal."""
    ranked = np.asarray(labels)[np.argsort(-np.asarray(scores, np.float64))] > 0.5
    return float(np.mean([ranked[: rank + 1].mean() for rank in np.flatnonzero(ranked)]))

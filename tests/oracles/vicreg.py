"""VICReg from its paper's algorithm 1, in loops; float64 or complex."""

import numpy as np


def _terms(features):
    count, width = features.shape
    columns = [column - sum(column) / count for column in features.T]
    product = lambda a, b: sum(x * y for x, y in zip(a, b, strict=True)) / (count - 1)  # noqa: E731
    hinge = 0.0
    for column in columns:
        deviation = np.sqrt(product(column, column) + 1e-4)
        hinge = hinge + (1 - deviation if np.real(deviation) < 1 else 0)
    shared = sum(product(columns[i], columns[j]) ** 2 for i in range(width) for j in range(width) if i != j)
    return hinge / width, shared / width


def vicreg(z1, z2, *, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0):
    """Bardes et al., 2022, algorithm 1 (the mean square as similarity), with the sums of equation 6."""
    similarity = sum((a - b) ** 2 for first, second in zip(z1, z2, strict=True) for a, b in zip(first, second, strict=True)) / z1.size
    (hinge1, shared1), (hinge2, shared2) = _terms(z1), _terms(z2)
    return invariance * similarity + variance * (hinge1 + hinge2) + covariance * (shared1 + shared2)

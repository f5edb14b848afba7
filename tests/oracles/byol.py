"""BYOL, Barlow Twins, KoLeo and the effective rank from their papers' equations, in loops; float64 or complex."""

import numpy as np

from tests.oracles.contrastive import direction


def byol(prediction, target):
    """Grill et al., 2020, equation 2: the mean of 2 - 2 <q, z> / (|q| |z|)."""
    return sum(2 - 2 * np.dot(direction(q), direction(z)) for q, z in zip(prediction, target, strict=True)) / len(prediction)


def _standard(column):
    mean = sum(column) / len(column)
    variance = sum((entry - mean) ** 2 for entry in column) / len(column)
    return [(entry - mean) / np.sqrt(variance + 1e-5) for entry in column]


def barlow_twins(z1, z2, *, redundancy: float = 0.005):
    """Zbontar et al., 2021, equation 1 and algorithm 1, with batch normalisation's 1e-5."""
    first, second = [_standard(column) for column in z1.T], [_standard(column) for column in z2.T]
    total = 0.0
    for i, ours in enumerate(first):
        for j, theirs in enumerate(second):
            correlation = sum(a * b for a, b in zip(ours, theirs, strict=True)) / len(z1)
            total = total + ((1 - correlation) ** 2 if i == j else redundancy * correlation**2)
    return total


def koleo(features):
    """Sablayrolles et al., 2018, equation 2: minus the mean logarithm of the distance to the nearest other vector."""
    rows = [direction(row) for row in features]
    total = 0.0
    for i, row in enumerate(rows):
        distances = [np.sqrt(np.sum((row - other) ** 2)) for j, other in enumerate(rows) if j != i]
        total = total - np.log(min(distances, key=np.real) + 1e-8)
    return total / len(rows)


def effective_rank(features):
    """The participation ratio from the eigenvalues themselves."""
    values = np.linalg.eigvalsh(np.cov(features.T))
    return np.sum(values) ** 2 / np.sum(values**2)

"""KoLeo and the effective rank from their equations, in loops; float64 or complex."""

import numpy as np

from tests.oracles.contrastive import direction


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

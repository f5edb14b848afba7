"""Weighted nearest neighbours from their definition in float64 numpy, one row at a time."""

import numpy as np


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """The cosine of the angle between two rows; 0 where one of them is zero."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    norms = np.sqrt(np.sum(first**2)) * np.sqrt(np.sum(second**2))
    return float(np.sum(first * second) / norms) if norms else 0.0


def neighbours(memory, row, k: int) -> list[tuple[int, float]]:
    """The k most similar rows of memory as (index, similarity), the nearest first, of equal ones the earlier."""
    found = [(index, cosine(other, row)) for index, other in enumerate(memory)]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:k]


def votes(memory, labels, row, *, k: int, temperature: float, num_classes: int) -> np.ndarray:
    """The sum of exp(similarity / temperature) over the neighbours of each class."""
    total = np.zeros(num_classes)
    for index, similarity in neighbours(memory, row, k):
        total[labels[index]] += np.exp(similarity / temperature)
    return total

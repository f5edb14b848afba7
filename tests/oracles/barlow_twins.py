"""Barlow Twins from its paper's equations, in loops; float64 or complex."""

import numpy as np


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

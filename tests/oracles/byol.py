"""BYOL from its paper's equation, in loops; float64 or complex."""

import numpy as np

from tests.oracles.contrastive import direction


def byol(prediction, target):
    """Grill et al., 2020, equation 2: the mean of 2 - 2 <q, z> / (|q| |z|)."""
    return sum(2 - 2 * np.dot(direction(q), direction(z)) for q, z in zip(prediction, target, strict=True)) / len(prediction)

"""Squared errors and the KL divergence of a Gaussian code, patch by patch; float64 or complex."""

import numpy as np


def mean_squared_error(prediction, target):
    """The mean of the squared differences."""
    pairs = list(zip(prediction.ravel(), target.ravel(), strict=True))
    return sum((p - t) ** 2 for p, t in pairs) / len(pairs)


def masked_mse(prediction, target, mask, *, normalize_target: bool = True):
    """He et al., 2021: hidden patches alone, each target patch standardised by its mean and unbiased variance + 1e-6."""
    total, hidden = 0.0, 0
    for guess, truth, hide in zip(prediction, target, mask, strict=True):
        for n in range(len(hide)):
            if not hide[n]:
                continue
            patch = truth[n]
            if normalize_target:
                mean = sum(patch) / len(patch)
                variance = sum((pixel - mean) ** 2 for pixel in patch) / (len(patch) - 1)
                patch = (patch - mean) / np.sqrt(variance + 1e-6)
            total = total + sum((g - p) ** 2 for g, p in zip(guess[n], patch, strict=True)) / len(patch)
            hidden += 1
    return total / hidden


def gaussian_kl(mean, log_variance):
    """Kingma & Welling, 2013, appendix B, with the sign of a price."""
    total = 0.0
    for m, v in zip(mean.ravel(), log_variance.ravel(), strict=True):
        total = total - 0.5 * (1 + v - m**2 - np.exp(v))
    return total / len(mean)

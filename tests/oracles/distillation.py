"""Distillation and pseudo-labels, one example at a time; float64 or complex."""

import numpy as np

from tests.oracles.contrastive import log_of_sum


def knowledge_distillation(student, teacher, *, temperature: float = 4.0):
    """Hinton et al., 2015: T^2 sum_k q_k (log q_k - log p_k), q the teacher's softened probabilities."""
    total = 0.0
    for ours, theirs in zip(student / temperature, teacher / temperature, strict=True):
        wanted, guess = theirs - log_of_sum(list(theirs)), ours - log_of_sum(list(ours))
        total = total + sum(np.exp(w) * (w - g) for w, g in zip(wanted, guess, strict=True))
    return temperature**2 * total / len(student)


def pseudo_label(weak, strong, *, threshold: float = 0.95):
    """Sohn et al., 2020, equation 4, over the confident examples."""
    found = []
    for sure, ours in zip(weak, strong, strict=True):
        chances = np.exp(sure - log_of_sum(list(sure)))
        if np.max(np.real(chances)) >= threshold:
            found.append(log_of_sum(list(ours)) - ours[int(np.argmax(np.real(sure)))])
    return sum(found) / max(len(found), 1)

"""DINO's loss, centre and entropy, one view pair, one image, one prototype at a time; float64 or complex."""

import numpy as np

from tests.oracles.contrastive import log_of_sum


def logits(features, prototypes) -> np.ndarray:
    """[V, B, K] from features [V, B, D] and prototypes [K, D], one dot product at a time."""
    return np.array([[[np.dot(row, prototype) for prototype in prototypes] for row in view] for view in features])


def made_unit(prototypes, wanted: bool) -> np.ndarray:
    """Each prototype over its length, where that is wanted."""
    return np.array([prototype / np.sqrt(np.sum(prototype * prototype)) for prototype in prototypes]) if wanted else prototypes


def dino(student, teacher, center, *, student_temperature: float = 0.1, teacher_temperature: float = 0.04):
    """Caron et al., 2021, equations 1 to 3: the mean of H(P_t(x), P_s(x')) over images and pairs x != x'."""
    total, pairs = 0.0, 0
    for g, teacher_view in enumerate(teacher):
        for v, student_view in enumerate(student):
            if g == v:
                continue
            for theirs, ours in zip(teacher_view, student_view, strict=True):
                wanted, guess = (theirs - center) / teacher_temperature, ours / student_temperature
                top, below = log_of_sum(list(wanted)), log_of_sum(list(guess))
                total = total - sum(np.exp(w - top) * (s - below) for w, s in zip(wanted, guess, strict=True))
                pairs += 1
    return total / pairs


def dino_center(center, teacher, *, momentum: float = 0.9):
    """Equation 4, with the mean over both views."""
    rows = [row for view in teacher for row in view]
    return np.array([momentum * center[k] + (1 - momentum) * sum(row[k] for row in rows) / len(rows) for k in range(len(center))])


def dino_entropy(teacher, center, *, teacher_temperature: float = 0.04):
    """The mean of -sum p log p over views and images."""
    found = []
    for row in (row for view in teacher for row in view):
        scaled = (row - center) / teacher_temperature
        logs = scaled - log_of_sum(list(scaled))
        found.append(-sum(np.exp(log) * log for log in logs))
    return sum(found) / len(found)


def dino_prototypes(
    student_features, teacher_features, student_prototypes, teacher_prototypes, center, *, unit_prototypes: bool = False, **temperatures
):
    """``dino`` of the logits."""
    student_prototypes, teacher_prototypes = (made_unit(rows, unit_prototypes) for rows in (student_prototypes, teacher_prototypes))
    return dino(logits(student_features, student_prototypes), logits(teacher_features, teacher_prototypes), center, **temperatures)


def dino_prototypes_center(center, teacher_features, teacher_prototypes, *, momentum: float = 0.9, unit_prototypes: bool = False):
    """``dino_center`` of the logits."""
    return dino_center(center, logits(teacher_features, made_unit(teacher_prototypes, unit_prototypes)), momentum=momentum)


def dino_prototypes_entropy(
    teacher_features, teacher_prototypes, center, *, teacher_temperature: float = 0.04, unit_prototypes: bool = False
):
    """``dino_entropy`` of the logits."""
    seen = logits(teacher_features, made_unit(teacher_prototypes, unit_prototypes))
    return dino_entropy(seen, center, teacher_temperature=teacher_temperature)

"""The contrastive losses, view by view, from their papers' equations; float64 or complex."""

import numpy as np


def direction(vector: np.ndarray) -> np.ndarray:
    """The vector over its length; zeros stay zeros."""
    square = np.sum(vector * vector)
    return vector / np.sqrt(square) if np.real(square) > 0 else vector


def log_of_sum(numbers: list) -> complex:
    """log sum exp of a list, the largest taken out first."""
    largest = max(np.real(number) for number in numbers)
    return largest + np.log(sum(np.exp(number - largest) for number in numbers))


def nt_xent(z1, z2, *, temperature: float = 0.5):
    """Chen et al., 2020, algorithm 1: the mean of l(2k - 1, 2k) and l(2k, 2k - 1) over all k."""
    views = [direction(vector) for pair in zip(z1, z2, strict=True) for vector in pair]
    likeness = [[np.dot(a, b) / temperature for b in views] for a in views]

    def term(i: int, j: int):
        return log_of_sum([likeness[i][k] for k in range(len(views)) if k != i]) - likeness[i][j]

    return sum(term(2 * k, 2 * k + 1) + term(2 * k + 1, 2 * k) for k in range(len(z1))) / len(views)


def supervised_contrastive(views, labels, *, temperature: float = 0.1):
    """Khosla et al., 2020, equation 2, over the number of views; a view without positives adds nothing.

    -log(e^s_p / sum e^s_k) as log(1 + sum over the others of e^(s_k - s_p)): where p wins, the oracle too must not subtract large numbers.
    """
    rows = [(direction(vector), label) for image, label in zip(views, labels, strict=True) for vector in image]
    total = 0.0
    for i, (anchor, label) in enumerate(rows):
        scores = {k: np.dot(anchor, other) / temperature for k, (other, _) in enumerate(rows) if k != i}
        positives = [k for k in scores if rows[k][1] == label]
        for p in positives:
            others = sum(np.exp(score - scores[p]) for k, score in scores.items() if k != p)
            total = total + np.log1p(others) / len(positives)
    return total / len(rows)

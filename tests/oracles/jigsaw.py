"""The jigsaw puzzle's cross-entropy, one example at a time; float64 or complex."""

from tests.oracles.contrastive import log_of_sum


def jigsaw(logits, permutation):
    """Minus the mean log probability of the permutation that was used."""
    return sum(log_of_sum(list(row)) - row[number] for row, number in zip(logits, permutation, strict=True)) / len(logits)

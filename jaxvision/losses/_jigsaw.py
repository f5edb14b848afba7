"""Jigsaw puzzles: which of a set of permutations shuffled the tiles of an image?"""

import itertools
import math
from functools import lru_cache

import jax.numpy as jnp
import numpy as np

from jaxvision import checks
from jaxvision.losses._classification import cross_entropy
from jaxvision.losses._numerics import of_rank
from jaxvision.typing import Array, Float, Int


def jigsaw(logits: Float[Array, "B P"], permutation: Int[Array, "B"]) -> Float[Array, ""]:
    """Cross-entropy of the permutation that was used.

        L = mean_b -log softmax(x_b)_(y_b)

    ``logits`` x over P permutations are [B, P]; ``permutation`` y holds the numbers [B] of those used. The result is a scalar in nats. A
    number outside 0..P-1 gives nan.

    Raises ValueError where the shapes do not fit or the numbers are not integers.
    Source: Noroozi & Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles", 2016, section 3.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> print(f"{jv.losses.jigsaw(jnp.zeros((2, 100)), jnp.array([0, 99])):.4f}")  # log 100
    4.6052
    """
    logits, permutation = of_rank("logits", logits, "B P"), jnp.asarray(permutation)
    if permutation.shape != logits.shape[:1] or not jnp.issubdtype(permutation.dtype, jnp.integer):
        raise ValueError(f"permutation: found {permutation.dtype} {permutation.shape}, expected integers [B] for logits {logits.shape}")
    return cross_entropy(logits, permutation)


@lru_cache(maxsize=8)
def _distant_permutations(count: int, tiles: int) -> np.ndarray:
    candidates = np.array(list(itertools.permutations(range(tiles))), np.uint8)
    columns = np.ascontiguousarray(candidates.T)  # [tiles, tiles!]
    nearest = np.full(len(candidates), tiles + 1, np.uint8)
    total, chosen = np.zeros(len(candidates), np.int32), [0]
    while len(chosen) < count:
        equal = np.zeros(len(candidates), np.uint8)
        for column, tile in zip(columns, candidates[chosen[-1]], strict=True):
            equal += column == tile
        np.minimum(nearest, tiles - equal, out=nearest)
        total += tiles - equal
        best = np.flatnonzero(nearest == nearest.max())
        chosen.append(int(best[np.argmax(total[best])]))
    return candidates[chosen].astype(np.int32)


def jigsaw_permutations(count: int, *, tiles: int = 9) -> np.ndarray:
    """``count`` permutations of 0..tiles-1 that are far apart, [count, tiles] int32; the same on every call.

    The first is the identity. Each further one has the largest Hamming distance to the nearest one before it and, among those, the largest
    sum of distances.

    Raises ValueError unless ``tiles`` is from 2 to 9 and ``count`` from 1 to tiles!.
    Source: after Noroozi & Favaro, 2016, algorithm 1, which begins at random and maximizes the sum alone.

    >>> import jaxvision as jv
    >>> jv.losses.jigsaw_permutations(2, tiles=4).tolist()
    [[0, 1, 2, 3], [1, 0, 3, 2]]
    """
    checks.integer("tiles", tiles, at_least=2, at_most=9)  # 9 tiles have 362,880 permutations
    checks.integer("count", count, at_most=math.factorial(tiles))
    return _distant_permutations(int(count), int(tiles)).copy()

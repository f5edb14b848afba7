"""Jigsaw puzzles: which of a set of permutations were the tiles of an image in?"""

import itertools
import math
from functools import lru_cache

import jax.numpy as jnp
import numpy as np

from jaxvision.losses._classification import cross_entropy
from jaxvision.losses._numerics import of_rank
from jaxvision.typing import Array, Float, Int


def jigsaw(logits: Float[Array, "B P"], permutation: Int[Array, "B"]) -> Float[Array, ""]:
    """Cross-entropy between logits over P permutations and the number of the one that was used
    (Noroozi & Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles", 2016, section 3).

    A number outside 0..P-1 gives nan. Raises ValueError where the shapes do not fit or the numbers are no integers.
    """
    logits, permutation = of_rank("logits", logits, "B P"), jnp.asarray(permutation)
    if permutation.shape != logits.shape[:1] or not jnp.issubdtype(permutation.dtype, jnp.integer):
        raise ValueError(f"permutation: found {permutation.dtype} {permutation.shape}, expected integers [B] for logits {logits.shape}")
    return cross_entropy(logits, permutation)


@lru_cache(maxsize=8)
def _far_apart(count: int, tiles: int) -> np.ndarray:
    every = np.array(list(itertools.permutations(range(tiles))), np.uint8)
    columns = np.ascontiguousarray(every.T)  # [tiles, tiles!]
    nearest = np.full(len(every), tiles + 1, np.uint8)
    total, chosen = np.zeros(len(every), np.int32), [0]
    while len(chosen) < count:
        equal = np.zeros(len(every), np.uint8)
        for column, tile in zip(columns, every[chosen[-1]], strict=True):
            equal += column == tile
        np.minimum(nearest, tiles - equal, out=nearest)
        total += tiles - equal
        best = np.flatnonzero(nearest == nearest.max())
        chosen.append(int(best[np.argmax(total[best])]))
    return every[chosen].astype(np.int32)


def jigsaw_permutations(count: int, *, tiles: int = 9) -> np.ndarray:
    """``count`` permutations [count, tiles] of 0..tiles-1, chosen one by one as far from those before as possible; always the same ones.

    Each has the largest Hamming distance to the nearest one chosen before it and, among those, the largest sum of distances (after
    Noroozi & Favaro, 2016, algorithm 1, which maximises the sum alone and begins at random; here the first is the identity).
    Raises ValueError unless 2 <= ``tiles`` <= 9 and 1 <= ``count`` <= tiles!.
    """
    if not 2 <= tiles <= 9:
        raise ValueError(f"tiles: found {tiles}, expected 2 to 9 (nine already have 362,880 permutations)")
    if not 1 <= count <= math.factorial(tiles):
        raise ValueError(f"count: found {count}, expected 1 to {math.factorial(tiles):,}, the permutations of {tiles} tiles")
    return _far_apart(count, tiles).copy()

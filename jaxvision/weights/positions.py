"""Tables of positions that were learned for another grid, resampled as timm resamples them when it loads a checkpoint."""

import math

import jax.numpy as jnp
import numpy as np

from jaxvision.layers import resize_position
from jaxvision.typing import Array

_LEAST, _MOST = 1.01, 1.5  # growth of the distance from one place to the next


def of_patches(table: Array, wanted: tuple[int, ...], grid: tuple[int, int]) -> Array:
    """A table [1, P + n, D] for the model's ``grid`` of patches; P tokens that are no patch keep theirs. ``wanted``: the model's shape."""
    first = wanted[1] - math.prod(grid)
    side = math.isqrt(max(table.shape[1] - first, 0))
    if first < 0 or side**2 != table.shape[1] - first or not side:
        raise ValueError(f"{list(table.shape)} is no square grid, or {tuple(grid)} not the model's grid {list(wanted)}")
    patches = np.asarray(resize_position(jnp.asarray(table[0, first:], jnp.float32), (side, side), tuple(grid)))
    return np.concatenate([table[:, :first], patches[None].astype(table.dtype)], axis=1)


def _places(count: int, reach: int) -> Array:
    """[count] places around 0, denser there: steps grow by one factor, so that the last comes to lie at ``reach``."""
    steps, low, high = np.arange(count // 2), _LEAST, _MOST
    while high - low > 1e-6:
        factor = (low + high) / 2
        low, high = (low, factor) if np.sum(factor**steps) > reach else (factor, high)
    side = np.cumsum(factor**steps)
    return np.concatenate([-side[::-1], [0.0], side])


def _along(table: Array, axis: int, after: int) -> Array:
    """Linear interpolation along one axis, for ``after`` places at whole distances."""
    places, wanted = _places(table.shape[axis], after // 2), np.arange(after) - after // 2
    return np.apply_along_axis(lambda row: np.interp(wanted, places, row), axis, table)


def of_windows(table: Array, wanted: tuple[int, ...], grid: tuple[int, int]) -> Array:
    """A table of offsets [(2 w - 1)^2, heads] for windows of ``grid``: BEiT's geometric places (Bao et al., 2022), linear between them."""
    side, after = math.isqrt(len(table)), [2 * size - 1 for size in grid]
    if side**2 != len(table) or side % 2 == 0 or math.prod(after) != wanted[0]:
        raise ValueError(f"{list(table.shape)} is no square window, or {tuple(grid)} not the model's window {list(wanted)}")
    square = np.asarray(table, np.float64).reshape(side, side, -1)  # [2 w - 1, 2 w - 1, heads]
    for axis, size in enumerate(after):
        square = _along(square, axis, size) if size != side else square
    return square.reshape(wanted[0], -1).astype(table.dtype)

"""Resample position tables that were learned for another grid, as timm does when it loads a checkpoint."""

import math

import jax.numpy as jnp
import numpy as np

from jaxvision.layers import resize_position
from jaxvision.typing import Array

_MIN_GROWTH, _MAX_GROWTH = 1.01, 1.5  # bounds of the ratio of consecutive distances between positions


def of_patches(table: Array, wanted: tuple[int, ...], grid: tuple[int, int]) -> Array:
    """Resample a table [1, P + n, D] to the model's ``grid`` and shape ``wanted``; the P tokens before the patches keep theirs."""
    first = wanted[1] - math.prod(grid)
    side = math.isqrt(max(table.shape[1] - first, 0))
    if first < 0 or side**2 != table.shape[1] - first or not side:
        raise ValueError(f"{list(table.shape)} is not a square grid, or {tuple(grid)} is not the model's grid {list(wanted)}")
    patches = np.asarray(resize_position(jnp.asarray(table[0, first:], jnp.float32), (side, side), tuple(grid)))
    return np.concatenate([table[:, :first], patches[None].astype(table.dtype)], axis=1)


def _places(count: int, reach: int) -> Array:
    """[count] positions around 0 whose distances grow by a constant factor, so that the last position is ``reach``."""
    steps, low, high = np.arange(count // 2), _MIN_GROWTH, _MAX_GROWTH
    while high - low > 1e-6:
        factor = (low + high) / 2
        low, high = (low, factor) if np.sum(factor**steps) > reach else (factor, high)
    side = np.cumsum(factor**steps)
    return np.concatenate([-side[::-1], [0.0], side])


def _along(table: Array, axis: int, after: int) -> Array:
    """Linear interpolation along one axis, at ``after`` equidistant positions."""
    places, wanted = _places(table.shape[axis], after // 2), np.arange(after) - after // 2
    return np.apply_along_axis(lambda row: np.interp(wanted, places, row), axis, table)


def of_windows(table: Array, wanted: tuple[int, ...], grid: tuple[int, int]) -> Array:
    """Resample a table [(2 w - 1)^2, heads] to windows of ``grid``: linear between BEiT's geometric positions (Bao et al., 2022)."""
    side, after = math.isqrt(len(table)), [2 * size - 1 for size in grid]
    if side**2 != len(table) or side % 2 == 0 or math.prod(after) != wanted[0]:
        raise ValueError(f"{list(table.shape)} is not a square window, or {tuple(grid)} is not the model's window {list(wanted)}")
    square = np.asarray(table, np.float64).reshape(side, side, -1)  # [2 w - 1, 2 w - 1, heads]
    for axis, size in enumerate(after):
        square = _along(square, axis, size) if size != side else square
    return square.reshape(wanted[0], -1).astype(table.dtype)

"""Positions of a row of tokens or a grid of patches: sinusoidal ones, and learned ones at any grid size."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxvision.layers.initializers import truncated_normal
from jaxvision.typing import Array


def resize_position(table: Array, before: tuple[int, int], after: tuple[int, int]) -> Array:
    """A table [h w, D] of one grid as [h' w', D] of another: bicubic (a = -0.5) with antialiasing, as timm resamples it."""
    if before == after:
        return table
    grid = table.reshape(*before, table.shape[-1])  # [h, w, D]
    return jax.image.resize(grid, (*after, table.shape[-1]), "bicubic", antialias=True).reshape(-1, table.shape[-1])  # [h' w', D]


class LearnedPosition(nn.Module):
    """tokens [B, h w, D] plus ``position`` [H W, D], learned for one ``grid`` (H, W) and resampled to that of the tokens."""

    grid: tuple[int, int]

    @nn.compact
    def __call__(self, tokens: Array, grid: tuple[int, int] | None = None) -> Array:
        grid = self.grid if grid is None else grid
        if tokens.ndim != 3 or tokens.shape[1] != grid[0] * grid[1]:
            raise ValueError(f"tokens: found shape {tokens.shape}, expected [B, {grid[0] * grid[1]}, D], one for each place of {grid}")
        table = self.param("position", truncated_normal(), (self.grid[0] * self.grid[1], tokens.shape[-1]), jnp.float32)
        return tokens + resize_position(table, self.grid, grid).astype(tokens.dtype)


def sinusoidal_position(places: Array, width: int) -> Array:
    """[N] positions, or their number N, as [N, width]: sine and cosine, in turn, of wavelengths 2 pi to 20,000 pi.

    (Vaswani et al., 2017, section 3.5.) Raises ValueError where ``width`` is odd.
    """
    if width % 2:
        raise ValueError(f"width: found {width}, expected an even number: a sine and a cosine for each frequency")
    places = jnp.arange(places) if jnp.ndim(places) == 0 else places
    frequencies = 10_000.0 ** (-np.arange(0, width, 2) / width)
    angles = places[:, None] * jnp.asarray(frequencies, jnp.float32)  # [N, width / 2]
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(-1, width)  # [N, width]


def grid_position(rows: int, columns: int, width: int) -> Array:
    """Fixed positions of a grid in row order [rows columns, width]: half of the width for the row, half for the column."""
    if width % 4:
        raise ValueError(f"width: found {width}, expected a multiple of 4: sines and cosines for rows and columns")
    row, column = (sinusoidal_position(count, width // 2) for count in (rows, columns))
    return jnp.concatenate([jnp.repeat(row, columns, axis=0), jnp.tile(column, (rows, 1))], axis=-1)  # [rows columns, width]


def blocked_grid_position(rows: int, columns: int, width: int) -> Array:
    """``grid_position`` in the order of MAE's releases (He et al., 2021): the column first, and of each all sines, then all cosines."""
    row, column = jnp.split(grid_position(rows, columns, width), 2, axis=-1)
    return jnp.concatenate([column[:, 0::2], column[:, 1::2], row[:, 0::2], row[:, 1::2]], axis=-1)  # [rows columns, width]

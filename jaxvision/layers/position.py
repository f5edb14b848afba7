"""Position embeddings of token sequences and patch grids: sinusoidal, or learned and resampled to any grid."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxvision.layers.initializers import truncated_normal
from jaxvision.typing import Array


def resize_position(table: Array, before: tuple[int, int], after: tuple[int, int]) -> Array:
    """Resample a position table [h w, D] from the grid ``before`` (h, w) to the grid ``after`` (h', w'): [h' w', D].

    Bicubic interpolation (a = -0.5) with antialiasing, as in timm.

    >>> import jaxvision as jv
    >>> import jax.numpy as jnp
    >>> jv.layers.resize_position(jnp.ones((4, 8)), (2, 2), (3, 5)).shape
    (15, 8)
    """
    if before == after:
        return table
    grid = table.reshape(*before, table.shape[-1])  # [h, w, D]
    return jax.image.resize(grid, (*after, table.shape[-1]), "bicubic", antialias=True).reshape(-1, table.shape[-1])  # [h' w', D]


class LearnedPosition(nn.Module):
    """Add a learned position embedding to patch tokens: tokens [B, h w, D] -> [B, h w, D].

    The parameter ``position`` [H W, D] belongs to ``grid`` (H, W); it is resampled if the call names another grid (h, w). Raises
    ValueError if the number of tokens is not that of the grid. Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> layer, tokens = jv.layers.LearnedPosition(grid=(2, 2)), jax.numpy.ones((1, 4, 8))
    >>> variables = layer.init(jax.random.key(0), tokens)
    >>> layer.apply(variables, jax.numpy.ones((1, 15, 8)), (3, 5)).shape
    (1, 15, 8)
    """

    grid: tuple[int, int]

    @nn.compact
    def __call__(self, tokens: Array, grid: tuple[int, int] | None = None) -> Array:
        grid = self.grid if grid is None else grid
        if tokens.ndim != 3 or tokens.shape[1] != grid[0] * grid[1]:
            raise ValueError(f"tokens: found shape {tokens.shape}, expected [B, {grid[0] * grid[1]}, D] for the grid {grid}")
        table = self.param("position", truncated_normal(), (self.grid[0] * self.grid[1], tokens.shape[-1]), jnp.float32)
        return tokens + resize_position(table, self.grid, grid).astype(tokens.dtype)


def sinusoidal_position(places: Array | int, width: int) -> Array:
    """Sinusoidal position embedding [N, width] of positions [N], or of the positions 0 to N - 1 if ``places`` is the number N.

    Entry 2 i is sin(p / 10000^(2 i / width)), entry 2 i + 1 the cosine of the same angle. Raises ValueError if ``width`` is odd. Source:
    Vaswani et al., 2017, section 3.5.

    >>> import jaxvision as jv
    >>> jv.layers.sinusoidal_position(5, 8).shape
    (5, 8)
    """
    if width % 2:
        raise ValueError(f"width: found {width}, expected an even number: a sine and a cosine for each frequency")
    places = jnp.arange(places) if jnp.ndim(places) == 0 else places
    frequencies = 10_000.0 ** (-np.arange(0, width, 2) / width)
    angles = places[:, None] * jnp.asarray(frequencies, jnp.float32)  # [N, width / 2]
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(-1, width)  # [N, width]


def grid_position(rows: int, columns: int, width: int) -> Array:
    """Sinusoidal position embedding of a grid in row order: [rows columns, width].

    The first half of the width encodes the row, the second half the column. Raises ValueError if ``width`` is not a multiple of 4.

    >>> import jaxvision as jv  # slow
    >>> jv.layers.grid_position(2, 3, 8).shape
    (6, 8)
    """
    if width % 4:
        raise ValueError(f"width: found {width}, expected a multiple of 4: sines and cosines for rows and columns")
    row, column = (sinusoidal_position(count, width // 2) for count in (rows, columns))
    return jnp.concatenate([jnp.repeat(row, columns, axis=0), jnp.tile(column, (rows, 1))], axis=-1)  # [rows columns, width]


def blocked_grid_position(rows: int, columns: int, width: int) -> Array:
    """``grid_position`` with the entries in the order of MAE's published weights: [rows columns, width].

    The first half encodes the column, the second half the row; in each half the sines come first, then the cosines. Source: the code of He
    et al., "Masked Autoencoders Are Scalable Vision Learners", 2021.

    >>> import jaxvision as jv  # slow
    >>> jv.layers.blocked_grid_position(2, 3, 8)[0].tolist()  # row 0, column 0: sines, cosines, sines, cosines
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
    """
    row, column = jnp.split(grid_position(rows, columns, width), 2, axis=-1)
    return jnp.concatenate([column[:, 0::2], column[:, 1::2], row[:, 0::2], row[:, 1::2]], axis=-1)  # [rows columns, width]

"""Learned positions of a grid of patches, at any grid size."""

import jax

from jaxvision.typing import Array


def resize_position(table: Array, before: tuple[int, int], after: tuple[int, int]) -> Array:
    """A table [h w, D] of one grid as [h' w', D] of another: bicubic (a = -0.5) with antialiasing, as timm resamples it."""
    if before == after:
        return table
    grid = table.reshape(*before, table.shape[-1])  # [h, w, D]
    return jax.image.resize(grid, (*after, table.shape[-1]), "bicubic", antialias=True).reshape(-1, table.shape[-1])  # [h' w', D]

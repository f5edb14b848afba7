"""Images as rows of patches: which of them are hidden, and pictures of what was made of the rest."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.objectives import _modules
from jaxvision.typing import Array, Key


def patchify(image: Array, patch_size: int) -> Array:
    """Images [B, H, W, C] as patches in row order [B, N, p p C], the pixels of each by row, column, channel (He et al., 2021).

    Raises ValueError for another rank, or where ``patch_size`` p does not divide H and W.
    """
    if image.ndim != 4 or image.shape[1] % patch_size or image.shape[2] % patch_size:
        raise ValueError(f"image: found shape {image.shape}, expected [B, H, W, C] with H and W divisible by patch_size={patch_size}")
    batch, rows, columns, channels = image.shape[0], image.shape[1] // patch_size, image.shape[2] // patch_size, image.shape[3]
    cells = image.reshape(batch, rows, patch_size, columns, patch_size, channels)
    return cells.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, -1)  # [B, N, p p C]


def unpatchify(patches: Array, patch_size: int, grid: tuple[int, int]) -> Array:
    """The inverse of ``patchify``: [B, N, p p C] of a ``grid`` (rows, columns) as images. Raises ValueError where these do not fit."""
    rows, columns = grid
    if patches.ndim != 3 or patches.shape[1] != rows * columns or patches.shape[2] % patch_size**2:
        wanted = f"[B, {rows * columns}, {patch_size}^2 C]"
        raise ValueError(f"patches: found shape {patches.shape}, expected {wanted} for a grid of {rows} x {columns}")
    cells = patches.reshape(len(patches), rows, columns, patch_size, patch_size, -1).transpose(0, 1, 3, 2, 4, 5)
    return cells.reshape(len(patches), rows * patch_size, columns * patch_size, -1)  # [B, H, W, C]


def kept_count(count: int, mask_ratio: float) -> int:
    """How many of ``count`` patches stay visible: count (1 - mask_ratio), rounded. Raises ValueError where none or all of them would."""
    kept = round(count * (1 - mask_ratio))
    if not 0 < kept < count:
        raise ValueError(
            f"mask_ratio: {mask_ratio} leaves {kept} of {count} patches visible, expected at least one of them visible and one hidden; "
            "another ratio, smaller patches or larger images give them"
        )
    return kept


def draw_kept(key: Key, batch: int, count: int, kept: int) -> tuple[Array, Array]:
    """(indices [B, kept] of the patches that stay visible, mask [B, count] float with 1 where hidden), drawn by global position."""
    keys = _modules.example_keys(key, batch)
    keep = jax.vmap(lambda key: jax.random.permutation(key, count)[:kept])(keys)
    return keep, jax.vmap(lambda places: jnp.ones(count).at[places].set(0))(keep)


class Pictures(NamedTuple):
    """What a masked autoencoder saw, made and should have made, each [B, H, W, C]."""

    masked: Array  # hidden patches have the grey of the visible pixels' mean
    reconstruction: Array  # visible patches as they were
    original: Array


def _of_visible_neighbours(values: Array, hidden: Array, grid: tuple[int, int]) -> Array:
    """For every patch the mean of ``values`` [B, N, 1] over the visible ones, weighted by exp(-d^2 / 2) at a distance of d patches."""
    places = jnp.stack(jnp.meshgrid(*map(jnp.arange, grid), indexing="ij"), axis=-1).reshape(-1, 2)  # [N, 2]
    nearness = -jnp.sum(jnp.square(places[:, None] - places), axis=-1) / 2  # [N, N]
    weights = jax.nn.softmax(nearness, axis=-1, where=~hidden[:, None, :, 0])  # [B, N, N]
    return weights @ jnp.where(hidden, 0, values)


def picture(image: Array, prediction: Array, mask: Array, patch_size: int, *, normalize_target: bool, honest: bool) -> Pictures:
    """Pictures of a prediction [B, N, p p C] for the patches of images [B, H, W, C] that ``mask`` [B, N] hides.

    A prediction of normalised patches needs means and variances to become pixels: ``honest`` takes those of the visible patches near by,
    else (oracle) each hidden patch lends its own, which no user of a model has.
    """
    patches, hidden = patchify(image, patch_size), mask[..., None] > 0
    mean, variance = jnp.mean(patches, axis=-1, keepdims=True), jnp.var(patches, axis=-1, ddof=1, keepdims=True)  # [B, N, 1]
    grid = (image.shape[1] // patch_size, image.shape[2] // patch_size)
    grey = jnp.mean(mean, axis=1, keepdims=True, where=~hidden)  # [B, 1, 1]
    if normalize_target:
        if honest:
            mean, variance = (_of_visible_neighbours(values, hidden, grid) for values in (mean, variance))
        prediction = prediction * jnp.sqrt(variance + 1e-6) + mean
    masked, rebuilt = (unpatchify(jnp.where(hidden, fill, patches), patch_size, grid) for fill in (grey, prediction))
    return Pictures(masked, rebuilt, image)

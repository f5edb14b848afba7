"""Solving jigsaw puzzles (Noroozi & Favaro, 2016): where the tiles of an image belong is learned from the image alone."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxvision import losses
from jaxvision.core import Aux, Carry, Objective, fold_name, unchanged
from jaxvision.layers import Dense
from jaxvision.objectives import _modules, _siamese
from jaxvision.typing import Array, Batch, Key


class Solver(nn.Module):
    """Features of the tiles in the order seen [B, T, D] -> logits [B, P] of permutations: a layer for each tile, one for all, a last."""

    permutations: int
    tile_width: int = 512
    hidden: int = 4096
    dtype: Any = None

    @nn.compact
    def __call__(self, features: Array, *, train: bool) -> Array:
        tiles = jax.nn.relu(Dense(self.tile_width, dtype=self.dtype, name="tile")(features))
        whole = jax.nn.relu(Dense(self.hidden, dtype=self.dtype, name="whole")(tiles.reshape(len(tiles), -1)))
        return Dense(self.permutations, dtype=self.dtype, name="permutation")(whole)


def _tile_size(image: Array, grid: int, gap: int | None) -> tuple[int, int]:
    """Height and width of a tile. Raises ValueError where ``gap`` leaves nothing of a cell."""
    cells = [side // grid for side in image.shape[1:3]]
    size = tuple(round(cell * 64 / 75) if gap is None else cell - gap for cell in cells)
    if min(size) < 1 or (gap is not None and gap < 0):
        raise ValueError(
            f"gap: {gap} pixels of cells of {cells[0]} x {cells[1]} leave tiles of {size[0]} x {size[1]}; expected 0 or a little"
        )
    return size


def _cut(key: Key, image: Array, grid: int, size: tuple[int, int]) -> Array:
    """Tiles [T, h, w, C] of one image [H, W, C] in row order, each somewhere in its cell, each channel with mean 0 and variance 1."""
    rows, columns = (side // grid for side in image.shape[:2])

    def cut(key: Key, index: Array) -> Array:
        room = jnp.array([rows - size[0] + 1, columns - size[1] + 1])
        jitter = jax.random.randint(key, (2,), 0, room)
        corner = jnp.array([index // grid * rows, index % grid * columns]) + jitter
        tile = jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (*size, image.shape[-1]))
        centred = tile - jnp.mean(tile, axis=(0, 1))
        return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=(0, 1)) + 1e-6)

    return jax.vmap(cut)(jax.random.split(key, grid**2), jnp.arange(grid**2))


def _puzzles(key: Key, image: Array, order: np.ndarray, grid: int, size: tuple[int, int]) -> tuple[Array, Array]:
    """(shuffled tiles [B, T, h, w, C], the number [B] of the permutation) of images: place i holds the tile ``order[number, i]``."""

    def puzzle(key: Key, image: Array) -> tuple[Array, Array]:
        number = jax.random.randint(fold_name(key, "order"), (), 0, len(order))
        return _cut(fold_name(key, "cut"), image, grid, size)[jnp.asarray(order)[number]], number

    return jax.vmap(puzzle)(_modules.example_keys(key, len(image)), image)


def jigsaw(
    encoder, *, permutations: int = 100, grid: int = 3, gap: int | None = None, tile_width: int = 512, hidden: int = 4096
) -> Objective:
    """An encoder sees the tiles of an image, shuffled, and a head tells by which of ``permutations`` permutations.

    (Noroozi & Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles", 2016.) ``encoder``: a Linen module whose
    ``features(image)`` gives pooled [B, D] of images as small as a tile: ``grid`` x ``grid`` cells, each less ``gap`` pixels (None: 11 of
    75, the paper's), in which a tile lies where chance puts it, so that edges do not tell. Every channel of a tile is normalised, so that
    brightness does not tell. The permutations are those of ``losses.jigsaw_permutations``. Head: ``tile_width`` units for each tile, whose
    features are then joined, and ``hidden`` for all (fc6 and fc7 of the paper).

    Reads ``image``. Parameters are stored as ``encoder`` and ``head``. Metrics: ``loss``; ``top1``, the share of puzzles solved. Raises
    ValueError where the gap leaves no tile, when the batch has no image, and for options that cannot be; an encoder refuses tiles that are
    too small for it.
    """
    _modules.check_encoder(encoder)
    _modules.positive(permutations=permutations, tile_width=tile_width, hidden=hidden)
    if grid not in (2, 3):
        raise ValueError(f"grid: found {grid}, expected 2 or 3, for 4 or 9 tiles")
    if permutations > (most := math.factorial(grid**2)):
        raise ValueError(f"permutations: found {permutations}, expected 1 to {most:,}, as many as {grid} x {grid} tiles have")
    order = losses.jigsaw_permutations(permutations, tiles=grid**2)
    head = Solver(permutations, tile_width, hidden, getattr(encoder, "dtype", None))

    def read(batch: Batch) -> tuple[Array, tuple[int, int]]:
        (image,) = _modules.read(batch, "jigsaw", "image", recipe="any source of images")
        return image, _tile_size(image, grid, gap)

    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        _modules.check_given("jigsaw", given, "encoder", "head")
        image, size = read(batch)
        tile = jnp.zeros((1, *size, image.shape[-1]), image.dtype)
        encoded, stats = _modules.start_encoder(key, encoder, tile, given=given)
        params, stats = {"encoder": encoded}, _modules.with_stats({}, "encoder", stats)
        pooled = jax.eval_shape(lambda: _siamese.embed(encoder, params, stats, tile, key=key)[0])
        seen = jnp.zeros((1, grid**2, pooled.shape[-1]))
        params["head"], _ = _modules.start("head", head, key, seen, given=given, train=False)
        return params, Carry(stats, {})

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        image, size = read(batch)
        tiles, drawn = _puzzles(fold_name(key, "puzzle"), image, order, grid, size)
        seen = _modules.as_one_batch(tiles)  # [B T, h, w, C]
        pooled, stats = _siamese.embed(encoder, params, carry.stats, seen, key=fold_name(key, "encoder"))
        joint = pooled.reshape(len(image), grid**2, -1)  # [B, T, D]
        logits, _ = _modules.apply(head, params["head"], {}, joint, key=fold_name(key, "head"))
        loss = losses.jigsaw(logits, drawn)
        return loss, Aux(Carry(stats, carry.memory), {"loss": loss, "top1": _modules.top1(logits, drawn)})

    return Objective(init, value, unchanged)

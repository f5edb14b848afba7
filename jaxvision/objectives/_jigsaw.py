"""Jigsaw puzzles: a network learns features by finding the permutation that shuffled the tiles of an image."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxvision import axis, checks, losses
from jaxvision.core import Aux, Carry, Objective, fold_name, unchanged
from jaxvision.layers import Solver, standardize
from jaxvision.objectives import _modules, _siamese
from jaxvision.typing import Array, Batch, Key

_PAPER_TILE, _PAPER_CELL = 64, 75  # pixels


def _tile_size(image: Array, grid: int, gap: int | None) -> tuple[int, int]:
    """Height and width of a tile. Raises ValueError where ``gap`` leaves nothing of a cell."""
    cells = [side // grid for side in image.shape[1:3]]
    size = tuple(round(cell * _PAPER_TILE / _PAPER_CELL) if gap is None else cell - gap for cell in cells)
    if min(size) < 1 or (gap is not None and gap < 0):
        raise ValueError(
            f"gap: found {gap}, which leaves tiles of {size[0]} x {size[1]} of cells of {cells[0]} x {cells[1]} pixels; expected from 0 to "
            f"{min(cells) - 1}"
        )
    return size


def _cut(key: Key, image: Array, grid: int, size: tuple[int, int]) -> Array:
    """Tiles [T, h, w, C] of one image [H, W, C] in row order, each at a random place in its cell, standardized channel by channel."""
    rows, columns = (side // grid for side in image.shape[:2])

    def cut(key: Key, index: Array) -> Array:
        room = jnp.array([rows - size[0] + 1, columns - size[1] + 1])
        jitter = jax.random.randint(key, (2,), 0, room)
        corner = jnp.array([index // grid * rows, index % grid * columns]) + jitter
        return standardize(jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (*size, image.shape[-1])))

    return jax.vmap(cut)(jax.random.split(key, grid**2), jnp.arange(grid**2))


def _puzzles(key: Key, image: Array, order: np.ndarray, grid: int, size: tuple[int, int]) -> tuple[Array, Array]:
    """(shuffled tiles [B, T, h, w, C], number [B] of the permutation) of images: place i holds the tile ``order[number, i]``."""

    def puzzle(key: Key, image: Array) -> tuple[Array, Array]:
        number = jax.random.randint(fold_name(key, "order"), (), 0, len(order))
        return _cut(fold_name(key, "cut"), image, grid, size)[jnp.asarray(order)[number]], number

    return jax.vmap(puzzle)(axis.example_keys(key, len(image)), image)


def _check_options(permutations: int, grid: int, tile_width: int, hidden: int) -> None:
    checks.counts(permutations=permutations, tile_width=tile_width, hidden=hidden)
    if grid not in (2, 3):
        raise ValueError(f"grid: found {grid}, expected 2 or 3, for 4 or 9 tiles")
    checks.integer("permutations", permutations, at_most=math.factorial(grid**2))


def jigsaw(
    encoder: nn.Module, *, permutations: int = 100, grid: int = 3, gap: int | None = None, tile_width: int = 512, hidden: int = 4096
) -> Objective:
    """Jigsaw puzzles: ``jv.losses.jigsaw`` of a head that reads the features of shuffled tiles.

    Reads ``image``. ``encoder``: a Linen module whose ``features(image)`` gives pooled [B, D] of images as small as a tile. The image
    is cut into ``grid`` x ``grid`` cells; a tile is a cell less ``gap`` pixels (None: 11 of 75, as in the paper) at a random place in
    it, so that edges do not continue from tile to tile. Every channel of a tile is standardized, so that brightness does not either.
    The permutations are ``jv.losses.jigsaw_permutations(permutations)``. The head has ``tile_width`` units for each tile and ``hidden``
    for all. Modules: ``encoder``, ``head``. Metric: ``top1``, the share of puzzles solved.

    Raises ValueError for options out of range, a gap that leaves no tile, and where the image is missing.
    Source: Noroozi & Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles", 2016.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> encoder = jv.create_model("resnet18", num_classes=0, stem="cifar").clone(depths=(1,))
    >>> objective = jv.objectives.jigsaw(encoder, permutations=4, grid=2, tile_width=8, hidden=16)
    >>> params, carry = objective.init(jax.random.key(0), {"image": jax.numpy.zeros((4, 32, 32, 3))})
    >>> sorted(params)
    ['encoder', 'head']
    """
    _modules.check_encoder(encoder)
    _check_options(permutations, grid, tile_width, hidden)
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
        tiles = jnp.zeros((1, grid**2, pooled.shape[-1]))
        params["head"], _ = _modules.start("head", head, key, tiles, given=given, train=False)
        return params, Carry(stats, {})

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        image, size = read(batch)
        tiles, numbers = _puzzles(fold_name(key, "puzzle"), image, order, grid, size)
        all_tiles = _modules.as_one_batch(tiles)  # [B T, h, w, C]
        pooled, stats = _siamese.embed(encoder, params, carry.stats, all_tiles, key=fold_name(key, "encoder"))
        joint = pooled.reshape(len(image), grid**2, -1)  # [B, T, D]
        logits, _ = _modules.apply(head, params["head"], {}, joint, key=fold_name(key, "head"))
        loss = losses.jigsaw(logits, numbers)
        return loss, Aux(Carry(stats, carry.memory), {"loss": loss, "top1": _modules.top1(logits, numbers)})

    return Objective(init, value, unchanged)

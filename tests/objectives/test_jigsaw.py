"""Jigsaw puzzles: how tiles are cut and shuffled, that training solves them, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxvision as jv
from jaxvision.typing import Features

KEY = jax.random.key(0)


SEEN = []  # the images that ``Recorder`` was called with


class Recorder(nn.Module):
    """An encoder that remembers its images."""

    @nn.compact
    def features(self, image, *, train=False):
        SEEN.append(image)
        return Features(nn.Dense(2)(jnp.mean(image, axis=(1, 2))), None, {})


@functools.cache
def cutter(shape: tuple[int, ...], **options):
    """(image, key) -> the shuffled tiles [B, T, h, w, C] that an encoder sees in training, of images of one shape."""
    objective = jv.objectives.jigsaw(Recorder(), tile_width=4, hidden=4, **options)
    params, carry = jax.jit(objective.init)(KEY, {"image": np.zeros(shape, np.float32)})

    def cut(image, key):
        objective.loss(params, carry, {"image": image}, key=key, step=0)
        tiles = SEEN.pop()
        return tiles.reshape(len(image), -1, *tiles.shape[1:])

    return jax.jit(cut)


def tiles_of(image, *, key=KEY, **options) -> np.ndarray:
    return np.asarray(cutter(image.shape, **options)(image, key))


def tile_size(rows: int, columns: int, **options) -> tuple[int, int]:
    """Height and width of the tiles of images of this size."""
    objective = jv.objectives.jigsaw(Recorder(), permutations=4, **options)
    jax.eval_shape(objective.init, KEY, {"image": jnp.zeros((1, rows, columns, 3))})
    return SEEN.pop().shape[1:3]


class Linear(nn.Module):
    """An encoder of one linear layer, for tiles of one size."""

    @nn.compact
    def features(self, image, *, train=False, keep=None, mask=None):
        return Features(nn.Dense(12)(image.reshape(len(image), -1)), None, {})


def ramp(rows: int, columns: int) -> np.ndarray:
    """An image each of whose pixels tells its row and its column."""
    return np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).astype(np.float32)


def test_a_tile_lies_somewhere_in_its_cell_and_is_standardized():
    image = jnp.asarray(ramp(12, 18) ** 2)[None]
    corners = set()
    for seed in range(12):
        (tiles,) = tiles_of(image, key=jax.random.key(seed), permutations=1, gap=1)  # the one permutation is the identity
        assert tiles.shape == (9, 3, 5, 2)
        np.testing.assert_allclose(tiles.mean((1, 2)), 0, atol=1e-5)
        np.testing.assert_allclose(tiles.std((1, 2)), 1, atol=1e-3)
        found = []
        for index, tile in enumerate(tiles):
            cell = np.asarray(image[0])[4 * (index // 3) :][:4, 6 * (index % 3) :][:, :6]
            places = [(i, j) for i in range(2) for j in range(2) if np.allclose(standard(cell[i : i + 3, j : j + 5]), tile, atol=1e-3)]
            assert len(places) == 1
            found += places
        corners |= set(found)
    assert corners == {(i, j) for i in range(2) for j in range(2)}  # every jitter occurs


def standard(tile: np.ndarray) -> np.ndarray:
    return (tile - tile.mean((0, 1))) / np.sqrt(tile.var((0, 1)) + 1e-6)


def test_tiles_are_shuffled_by_one_of_the_permutations():
    order = jv.losses.jigsaw_permutations(6, tiles=4)
    image = np.asarray(jax.random.normal(KEY, (10, 8, 8, 1)))
    used = []
    for picture, shuffled in zip(image, tiles_of(image, permutations=6, grid=2, gap=0), strict=True):
        cells = np.stack([standard(picture[4 * (index // 2) :][:4, 4 * (index % 2) :][:, :4]) for index in range(4)])
        numbers = [number for number, places in enumerate(order) if np.allclose(cells[places], shuffled, atol=1e-4)]
        assert len(numbers) == 1
        used += numbers
    assert len(set(used)) > 2


def test_puzzles_of_distinct_tiles_are_solved():
    generator = np.random.default_rng(0)
    batch = {"image": np.kron(np.ones((32, 1, 1, 1)), generator.random((1, 16, 16, 1))).astype(np.float32)}
    objective = jv.objectives.jigsaw(Linear(), permutations=4, grid=2, gap=0, tile_width=16, hidden=32)
    optimizer = jv.train.adam(1e-2)
    state = jv.train.init(objective, optimizer, batch, key=KEY)
    step = jax.jit(jv.train.make_step(objective, optimizer))
    first = step(state, batch, KEY)[1]
    assert 0.7 * np.log(4) < first["loss"] < 2 * np.log(4)
    for _ in range(60):
        state, metrics = step(state, batch, KEY)
    assert metrics["top1"] > 0.9


def test_the_gap_and_what_is_refused():
    assert tile_size(225, 225) == (64, 64)  # the paper's tiles of cells of 75
    assert tile_size(32, 32) == (9, 9)
    assert tile_size(32, 33, gap=2) == (8, 9)
    for gap in (10, -1):
        with pytest.raises(ValueError, match="gap"):
            tile_size(32, 32, gap=gap)
    batch = {"image": jnp.zeros((2, 32, 32, 3))}
    with pytest.raises(ValueError, match="image"):
        jax.eval_shape(jv.objectives.jigsaw(jv.create_model("convnextv2_atto", num_classes=0), permutations=4).init, KEY, batch)
    with pytest.raises(ValueError, match="given"):
        jv.objectives.jigsaw(Linear(), permutations=4).init(KEY, batch, {"model": {}})
    with pytest.raises(ValueError, match="batch"):
        jv.objectives.jigsaw(Linear(), permutations=4).init(KEY, {"views": batch["image"]})

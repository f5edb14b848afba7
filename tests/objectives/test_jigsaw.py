"""The jigsaw puzzle: which tiles are cut, that edges and brightness do not tell, and that a solvable puzzle is solved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxvision as jv
from jaxvision.objectives._jigsaw import _cut, _puzzles, _tile_size
from jaxvision.typing import Features

KEY = jax.random.key(0)


class Linear(nn.Module):
    """An encoder of one linear layer, for tiles of one size."""

    @nn.compact
    def features(self, image, *, train=False, keep=None, mask=None):
        return Features(nn.Dense(12)(image.reshape(len(image), -1)), None, {})


def ramp(rows: int, columns: int) -> np.ndarray:
    """An image each of whose pixels tells its row and its column."""
    return np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).astype(np.float32)


def test_a_tile_lies_somewhere_in_its_cell_and_is_normalised():
    image = jnp.asarray(ramp(12, 18) ** 2)
    corners = set()
    for seed in range(20):
        tiles = np.asarray(_cut(jax.random.key(seed), image, 3, (3, 4)))
        assert tiles.shape == (9, 3, 4, 2)
        np.testing.assert_allclose(tiles.mean((1, 2)), 0, atol=1e-5)
        np.testing.assert_allclose(tiles.std((1, 2)), 1, atol=1e-3)
        found = []
        for index, tile in enumerate(tiles):
            cell = np.asarray(image)[4 * (index // 3) :][:4, 6 * (index % 3) :][:, :6]
            places = [(i, j) for i in range(2) for j in range(3) if np.allclose(standard(cell[i : i + 3, j : j + 4]), tile, atol=1e-3)]
            assert len(places) == 1
            found += places
        corners |= set(found)
    assert corners == {(i, j) for i in range(2) for j in range(3)}  # every jitter occurs


def standard(tile: np.ndarray) -> np.ndarray:
    return (tile - tile.mean((0, 1))) / np.sqrt(tile.var((0, 1)) + 1e-6)


def test_tiles_are_shuffled_by_the_permutation_that_is_asked_for():
    order = jv.losses.jigsaw_permutations(6, tiles=4)
    image = jax.random.normal(KEY, (10, 8, 8, 1))
    tiles, numbers = _puzzles(KEY, image, order, 2, (4, 4))
    assert len(set(np.asarray(numbers).tolist())) > 2
    for picture, shuffled, number in zip(image, tiles, numbers, strict=True):
        cells = [picture[4 * (index // 2) :][:4, 4 * (index % 2) :][:, :4] for index in range(4)]
        for place in range(4):
            np.testing.assert_allclose(shuffled[place], standard(np.asarray(cells[order[number][place]])), atol=1e-4)


def test_a_puzzle_whose_tiles_look_different_is_solved():
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
    assert _tile_size(jnp.zeros((1, 225, 225, 3)), 3, None) == (64, 64)  # the paper's tiles of cells of 75
    assert _tile_size(jnp.zeros((1, 32, 32, 3)), 3, None) == (9, 9)
    assert _tile_size(jnp.zeros((1, 32, 33, 3)), 3, 2) == (8, 9)
    for gap in (10, -1):
        with pytest.raises(ValueError, match=f"gap: {gap} pixels of cells of 10 x 10 leave tiles of"):
            _tile_size(jnp.zeros((1, 32, 32, 3)), 3, gap)
    batch = {"image": jnp.zeros((2, 32, 32, 3))}
    with pytest.raises(ValueError, match="image: found shape .* expects H and W of at least 32"):
        jax.eval_shape(jv.objectives.jigsaw(jv.create_model("convnextv2_atto", num_classes=0), permutations=4).init, KEY, batch)
    with pytest.raises(ValueError, match="given: jigsaw has encoder, head; found model"):
        jv.objectives.jigsaw(Linear(), permutations=4).init(KEY, batch, {"model": {}})
    with pytest.raises(ValueError, match="batch: jigsaw reads 'image'"):
        jv.objectives.jigsaw(Linear(), permutations=4).init(KEY, {"views": batch["image"]})

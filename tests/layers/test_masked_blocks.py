"""Hidden places: GRN and ConvNeXt's block against sums over the visible neighbours alone; positions in MAE's order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from jaxvision.layers import ConvNextBlock, GlobalResponseNorm, blocked_grid_position, grid_position, mask_hidden

KEY = jax.random.key(0)


def drawn(layer, *inputs, **options) -> dict:
    """Parameters of the size of one in float64, so that no part of the layer hides."""
    generator = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda *inputs: layer.init(KEY, *inputs, **options), *inputs)
    return jax.tree.map(lambda leaf: 0.3 * generator.standard_normal(leaf.shape), shapes)


def some_places(*shape: int) -> np.ndarray:
    visible = np.random.default_rng(1).random((*shape, 1)) < 0.5
    visible[:, 0, 0] = True
    return visible


def test_grn_counts_only_visible_positions():
    x = np.random.default_rng(2).standard_normal((3, 4, 5, 6))
    visible = some_places(3, 4, 5)
    layer = GlobalResponseNorm()
    with jax.enable_x64(True):
        variables = drawn(layer, x)
        found = np.asarray(layer.apply(variables, x, visible))
        for example in range(3):
            seen = x[example][visible[example, ..., 0]]  # [n, C]: as if there were no other places
            alone = layer.apply(variables, seen[None, None])[0, 0]
            np.testing.assert_allclose(found[example][visible[example, ..., 0]], alone, rtol=1e-12)
        np.testing.assert_array_equal(layer.apply(variables, x, np.ones_like(visible)), layer.apply(variables, x))
    with pytest.raises(ValueError, match="^visible:"):
        layer.init(KEY, x, visible[..., 0])


def test_grn_of_an_image_that_is_hidden_altogether_is_finite():
    x, layer = jnp.ones((1, 2, 2, 3)), GlobalResponseNorm()
    variables = drawn(layer, x)
    nothing = jnp.zeros((1, 2, 2, 1), bool)
    assert np.isfinite(jax.grad(lambda x: layer.apply(variables, x, nothing).sum())(x)).all()


def sparse_block(params: dict, x: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """The block of ConvNeXt V2 on one image [h, w, C] as a list of visible places, each a sum over its visible neighbours."""
    places = [tuple(place) for place in np.argwhere(visible)]
    kernel = params["depthwise"]["kernel"]  # [7, 7, 1, C]
    summed = np.zeros((len(places), x.shape[-1]))
    for index, (row, column) in enumerate(places):
        for i, j in places:
            if abs(i - row) <= 3 and abs(j - column) <= 3:
                summed[index] += kernel[i - row + 3, j - column + 3, 0] * x[i, j]
    summed += params["depthwise"]["bias"]
    normed = (summed - summed.mean(-1, keepdims=True)) / np.sqrt(summed.var(-1, keepdims=True) + 1e-6)
    normed = normed * params["norm"]["scale"] + params["norm"]["bias"]
    hidden = normed @ params["expand"]["kernel"] + params["expand"]["bias"]
    hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
    energy = np.sqrt((hidden**2).sum(0))
    hidden = hidden + params["response"]["scale"] * hidden * energy / (energy.mean() + 1e-6) + params["response"]["bias"]
    branch = hidden @ params["contract"]["kernel"] + params["contract"]["bias"]
    wanted = np.zeros_like(x)
    for index, place in enumerate(places):
        wanted[place] = x[place] + branch[index]
    return wanted


def test_a_masked_block_is_a_sparse_one():
    x, visible = np.random.default_rng(3).standard_normal((2, 6, 9, 4)), some_places(2, 6, 9)
    layer = ConvNextBlock(response=True)
    with jax.enable_x64(True):
        variables = drawn(layer, x, train=False)
        x = np.where(visible, x, 0)
        found = np.asarray(layer.apply(variables, x, visible, train=False))
    for example in range(2):
        wanted = sparse_block(variables["params"], x[example], visible[example, ..., 0])
        np.testing.assert_allclose(found[example], wanted, rtol=1e-10, atol=1e-10)


def test_hidden_positions_become_zero():
    x = jnp.array([[[[jnp.inf], [2.0]]]])
    np.testing.assert_array_equal(mask_hidden(x, jnp.array([[[[False], [True]]]])), [[[[0.0], [2.0]]]])
    assert mask_hidden(x, None) is x


def test_positions_in_maes_order():
    rows, columns, width = 3, 5, 8
    table = np.asarray(blocked_grid_position(rows, columns, width))
    for row in range(rows):
        for column in range(columns):
            wanted = []
            for place in (column, row):
                angles = [place / 10_000 ** (index / (width / 4)) for index in range(width // 4)]
                wanted += [np.sin(angle) for angle in angles] + [np.cos(angle) for angle in angles]
            np.testing.assert_allclose(table[row * columns + column], wanted, atol=1e-6)
    np.testing.assert_array_equal(np.sort(table), np.sort(grid_position(rows, columns, width)))
    with pytest.raises(ValueError, match="^width:"):
        blocked_grid_position(2, 2, 6)

"""GRN, LayerScale, the head, SwiGLU, fixed positions and attention within windows: their formulas, written out another way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import kernels
from jaxvision.layers import (
    GlobalResponseNorm,
    Head,
    LayerScale,
    SwiGLU,
    WindowAttention,
    check_patches,
    drop_path_rates,
    grid_position,
    sinusoidal_position,
)
from jaxvision.layers.window_attention import merge, partition, relative_index

GENERATOR = np.random.default_rng(0)
KEY = jax.random.key(0)


def drawn(layer, *inputs, **options) -> dict:
    """Parameters of the size of one, so that no part of the layer hides."""
    shapes = jax.eval_shape(lambda *inputs: layer.init(KEY, *inputs, **options), *inputs)
    return jax.tree.map(lambda leaf: GENERATOR.standard_normal(leaf.shape).astype(np.float32), shapes)


def test_grn_is_its_formula_and_begins_as_the_identity():
    x = GENERATOR.standard_normal((2, 3, 4, 5)).astype(np.float32)
    layer = GlobalResponseNorm()
    np.testing.assert_array_equal(layer.apply(layer.init(KEY, x), x), x)
    variables = drawn(layer, x)
    norms = np.stack([[np.linalg.norm(x[image, ..., channel]) for channel in range(5)] for image in range(2)])
    share = (norms / (norms.mean(-1, keepdims=True) + 1e-6))[:, None, None]
    wanted = x + variables["params"]["scale"] * x * share + variables["params"]["bias"]
    np.testing.assert_allclose(layer.apply(variables, x), wanted, rtol=1e-5, atol=1e-6)


def test_grn_has_a_gradient_where_a_channel_is_zero_everywhere():
    x = jnp.zeros((1, 2, 2, 3)).at[..., 0].set(1.0)
    layer = GlobalResponseNorm()
    variables = drawn(layer, x)
    assert np.isfinite(jax.grad(lambda x: layer.apply(variables, x).sum())(x)).all()
    with pytest.raises(ValueError, match="^x:"):
        layer.init(KEY, jnp.zeros((2, 3)))


def test_layer_scale_is_one_gain_a_channel():
    x = GENERATOR.standard_normal((2, 3, 4)).astype(np.float32)
    layer = LayerScale(1e-3)
    np.testing.assert_allclose(layer.apply(layer.init(KEY, x), x), 1e-3 * x, rtol=1e-6)
    gamma = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    np.testing.assert_allclose(layer.apply({"params": {"gamma": gamma}}, x), x * gamma)
    assert layer.apply({"params": {"gamma": gamma}}, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_the_head_is_one_dense_layer_or_nothing():
    pooled = GENERATOR.standard_normal((3, 4)).astype(np.float32)
    head = Head(2, drop_rate=0.5)
    variables = drawn(head, pooled, train=False)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    assert set(variables["params"]) == {"kernel", "bias"}
    np.testing.assert_allclose(head.apply(variables, pooled, train=False), pooled @ kernel + bias, rtol=1e-5)
    dropped = head.apply(variables, pooled, train=True, rngs={"dropout": KEY})
    assert not np.allclose(dropped, pooled @ kernel + bias)
    assert Head(2, dtype="bfloat16").apply(variables, pooled, train=False).dtype == jnp.float32
    assert not Head(0).init(KEY, pooled, train=False)
    np.testing.assert_array_equal(Head(0, drop_rate=0.5).apply({}, pooled, train=True), pooled)


def test_swiglu_gates_one_half_with_the_silu_of_the_other():
    tokens = GENERATOR.standard_normal((2, 3, 4)).astype(np.float32)
    layer = SwiGLU(5)
    params = drawn(layer, tokens)["params"]
    both = tokens @ params["expand"]["kernel"] + params["expand"]["bias"]
    hidden = both[..., :5] / (1 + np.exp(-both[..., :5])) * both[..., 5:]
    wanted = hidden @ params["contract"]["kernel"] + params["contract"]["bias"]
    np.testing.assert_allclose(layer.apply({"params": params}, tokens), wanted, rtol=1e-4, atol=1e-4)


def test_drop_path_rates_rise_over_all_stages():
    assert drop_path_rates(0.3, (1, 2, 1)) == ((0.0,), (pytest.approx(0.1), pytest.approx(0.2)), (pytest.approx(0.3),))
    assert drop_path_rates(0.3, (1,)) == ((0.0,),)


def test_patches_must_divide_the_image():
    check_patches(224, 16)
    refusals = (((224, 0), "^patch_size:"), ((2.0, 1), "^image_size:"), ((10, 4), "^patch_size:"))
    for sizes, argument in refusals:
        with pytest.raises(ValueError, match=argument):
            check_patches(*sizes)


def test_attention_adds_the_bias_to_the_scores():
    queries, keys, values = (GENERATOR.standard_normal((2, 3, 2, 4)).astype(np.float32) for _ in range(3))
    apart = np.where(np.eye(3), 0, -np.inf).astype(np.float32)  # each token sees itself alone
    np.testing.assert_allclose(kernels.attention(queries, keys, values, bias=apart), values, rtol=1e-6)
    whole = kernels.attention(queries, keys, values)
    np.testing.assert_allclose(kernels.attention(queries, keys, values, bias=np.full((2, 1, 1), 3.0)), whole, rtol=1e-5)


def test_windows_are_cut_in_row_order_and_put_back():
    x = np.arange(2 * 4 * 6).reshape(2, 4, 6, 1)
    windows = partition(x, 2)
    assert windows.shape == (12, 4, 1)
    np.testing.assert_array_equal(windows[1, :, 0], [2, 3, 8, 9])
    np.testing.assert_array_equal(merge(windows, 2, 4, 6), x)


def test_relative_positions_name_the_offset():
    index = relative_index(3)
    for one in range(9):
        for other in range(9):
            rows, columns = one // 3 - other // 3, one % 3 - other % 3
            assert index[one, other] == (rows + 2) * 5 + columns + 2


@pytest.mark.parametrize(("shape", "shift"), [((4, 4), 0), ((4, 4), 1), ((5, 7), 1), ((2, 6), 1)])
def test_window_attention_equals_a_loop_over_positions(shape, shift):
    """Each place attends to those of its (shifted) window, whose padded places take part as zeros before the maps."""
    window, heads, width = 2, 2, 4
    x = GENERATOR.standard_normal((1, *shape, width)).astype(np.float32)
    layer = WindowAttention(heads, window, shift)
    params = drawn(layer, x)["params"]
    sides = [-(-extent // window) * window for extent in shape]
    shifts = [shift if side > window else 0 for side in sides]
    padded = np.zeros((*sides, width), np.float32)
    padded[: shape[0], : shape[1]] = x[0]
    queries, keys, values = np.split(padded @ params["qkv"]["kernel"] + params["qkv"]["bias"], 3, axis=-1)
    wanted = np.zeros((*shape, width), np.float32)
    for row, column in np.ndindex(*shape):
        near = [
            (i, j)
            for i, j in np.ndindex(*sides)
            if (i - shifts[0]) // window == (row - shifts[0]) // window and (j - shifts[1]) // window == (column - shifts[1]) // window
        ]
        mixed = []
        for head in range(heads):
            part = slice(head * 2, head * 2 + 2)
            scores = [queries[row, column, part] @ keys[i, j, part] / np.sqrt(2) for i, j in near]
            scores = [
                score + params["position"][(row - i + 1) * 3 + column - j + 1, head] for score, (i, j) in zip(scores, near, strict=True)
            ]
            weights = np.exp(scores - np.max(scores))
            mixed.append(sum(weight * values[i, j, part] for weight, (i, j) in zip(weights / weights.sum(), near, strict=True)))
        wanted[row, column] = np.concatenate(mixed) @ params["project"]["kernel"] + params["project"]["bias"]
    np.testing.assert_allclose(layer.apply({"params": params}, x)[0], wanted, rtol=1e-4, atol=1e-4)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="^heads:"):
        WindowAttention(3, 2).init(KEY, jnp.zeros((1, 4, 4, 4)))


def test_sinusoidal_positions_are_the_papers():
    table = np.asarray(sinusoidal_position(50, 6))
    for place in (0, 1, 49):
        for pair in range(3):
            angle = place / 10_000 ** (2 * pair / 6)
            np.testing.assert_allclose(table[place, 2 * pair : 2 * pair + 2], [np.sin(angle), np.cos(angle)], atol=1e-5)
    np.testing.assert_array_equal(sinusoidal_position(jnp.array([49, 0]), 6), table[[49, 0]])
    # The products of two positions depend on their distance alone.
    products = table @ table.T
    np.testing.assert_allclose(products[3:, 3:], products[:-3, :-3], atol=1e-4)
    with pytest.raises(ValueError, match="^width:"):
        sinusoidal_position(3, 5)


def test_grid_positions_tell_row_and_column():
    table = np.asarray(grid_position(3, 4, 8)).reshape(3, 4, 8)
    np.testing.assert_array_equal(table[:, 0, :4], sinusoidal_position(3, 4))
    np.testing.assert_array_equal(table[0, :, 4:], sinusoidal_position(4, 4))
    assert len(np.unique(table.reshape(12, 8), axis=0)) == 12
    with pytest.raises(ValueError, match="^width:"):
        grid_position(2, 2, 6)

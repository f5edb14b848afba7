"""Group normalisation and its identities, weight standardisation, learned positions, local connection without sharing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import (
    BatchNorm,
    Conv,
    GroupNorm,
    LayerNorm,
    LearnedPosition,
    LocallyConnected,
    grid_position,
    resize_position,
    standardize,
)

NO_TORCH = "PyTorch is not installed: parity with PyTorch is NOT checked here"
GENERATOR = np.random.default_rng(0)
KEY = jax.random.key(0)
X = (1.5 + 2 * GENERATOR.standard_normal((3, 4, 5, 6))).astype(np.float32)
PARAMS = {name: GENERATOR.uniform(0.5, 1.5, 6).astype(np.float32) for name in ("scale", "bias")}


def standard(x: np.ndarray, over: tuple[int, ...], epsilon: float = 1e-5) -> np.ndarray:
    x = x.astype(np.float64)
    return (x - x.mean(over, keepdims=True)) / np.sqrt(x.var(over, keepdims=True) + epsilon)


def normed(layer, x=X, **options) -> np.ndarray:
    return layer.apply({"params": PARAMS}, x, **options)


@pytest.mark.parametrize(("groups", "wanted"), [(1, (1, 2, 3)), (6, (1, 2)), (0, (1, 2))])
def test_one_group_is_layer_norm_and_a_group_a_channel_is_instance_norm(groups, wanted):
    np.testing.assert_allclose(normed(GroupNorm(groups)), standard(X, wanted) * PARAMS["scale"] + PARAMS["bias"], atol=1e-5)


def test_norms_are_one_formula_over_other_axes():
    """One image: batch norm is instance norm. One place: group norm with one group is layer norm of the channels."""
    statistics = {"mean": np.zeros(6, np.float32), "var": np.ones(6, np.float32)}
    variables = {"params": PARAMS, "batch_stats": statistics}
    batch, _ = BatchNorm().apply(variables, X[:1], train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(batch, normed(GroupNorm(0), X[:1]), atol=1e-5)
    place = X[:, :1, :1]
    np.testing.assert_allclose(normed(LayerNorm(1e-5), place), normed(GroupNorm(1), place), atol=1e-5)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_group_norm_is_pytorchs(groups):
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    first = torch.tensor(X).permute(0, 3, 1, 2)
    scale, bias = (torch.tensor(PARAMS[name]) for name in ("scale", "bias"))
    theirs = torch.nn.functional.group_norm(first, groups, scale, bias)
    np.testing.assert_allclose(normed(GroupNorm(groups)), theirs.permute(0, 2, 3, 1).numpy(), atol=1e-5)
    if groups == 6:
        instance = torch.nn.functional.instance_norm(first, weight=scale, bias=bias)
        np.testing.assert_allclose(normed(GroupNorm(0)), instance.permute(0, 2, 3, 1).numpy(), atol=1e-5)


def test_group_norm_refuses_other_groups_and_keeps_the_type():
    with pytest.raises(ValueError, match="^groups:"):
        GroupNorm(4).init(KEY, X)
    out, variables = GroupNorm(2, dtype="bfloat16").init_with_output(KEY, X)
    assert out.dtype == jnp.bfloat16 and variables["params"]["scale"].dtype == jnp.float32


def test_standardised_kernels_have_mean_zero_and_variance_one():
    kernel = (3 + 2 * GENERATOR.standard_normal((3, 3, 6, 8))).astype(np.float32)
    wanted = standard(kernel, (0, 1, 2), 1e-6)
    np.testing.assert_allclose(standardize(kernel), wanted, atol=1e-5)
    layer = Conv(8, 3, padding=1, use_bias=False)
    found = layer.clone(standardized=True).apply({"params": {"kernel": kernel}}, X)
    np.testing.assert_allclose(found, layer.apply({"params": {"kernel": wanted.astype(np.float32)}}, X), atol=1e-4)
    # A kernel times anything, plus anything, is the same layer; and its gradient has no part along either.
    moved = layer.clone(standardized=True).apply({"params": {"kernel": 5 * kernel + 2}}, X)
    np.testing.assert_allclose(moved, found, atol=1e-4)
    loss = lambda kernel: jnp.sum(jnp.sin(layer.clone(standardized=True).apply({"params": {"kernel": kernel}}, X)))  # noqa: E731
    grad = np.asarray(jax.grad(loss)(jnp.asarray(kernel)))
    np.testing.assert_allclose(grad.sum((0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose((grad * (kernel - kernel.mean((0, 1, 2)))).sum((0, 1, 2)), 0, atol=1e-3)


def test_standardised_convolution_is_timms():
    timm = pytest.importorskip("timm", reason="timm is not installed: parity with it is NOT checked here")
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    network = timm.layers.StdConv2d(6, 8, 3, stride=2, padding=1, bias=True)
    params = {"kernel": network.weight.detach().permute(2, 3, 1, 0).numpy(), "bias": network.bias.detach().numpy()}
    with torch.no_grad():
        theirs = network(torch.tensor(X).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(Conv(8, 3, 2, 1, standardized=True).apply({"params": params}, X), theirs, atol=1e-4)


def test_learned_positions_are_added_and_resampled():
    tokens = GENERATOR.standard_normal((2, 6, 4)).astype(np.float32)
    layer = LearnedPosition((2, 3))
    table = GENERATOR.standard_normal((6, 4)).astype(np.float32)
    variables = {"params": {"position": table}}
    assert jax.tree.map(jnp.shape, layer.init(KEY, tokens)["params"]) == {"position": (6, 4)}
    np.testing.assert_array_equal(layer.apply(variables, tokens), tokens + table)
    larger = np.zeros((1, 20, 4), np.float32)
    np.testing.assert_allclose(layer.apply(variables, larger, (4, 5))[0], resize_position(table, (2, 3), (4, 5)), rtol=1e-6)
    with pytest.raises(ValueError, match="^tokens:"):
        layer.apply(variables, tokens, (3, 3))


def test_products_of_grid_positions_depend_only_on_the_offset():
    table = np.asarray(grid_position(5, 6, 16), np.float64).reshape(5, 6, 16)
    products = np.einsum("abd,xyd->abxy", table, table)
    np.testing.assert_allclose(products[1:, 1:, 1:, 1:], products[:-1, :-1, :-1, :-1], atol=1e-4)


@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 1, 0), (3, 2, 1), (2, 2, 0)])
def test_local_connection_with_tied_kernels_is_convolution(size, stride, padding):
    conv, local = Conv(7, size, stride, padding), LocallyConnected(7, size, stride, padding)
    params = conv.init(KEY, X)["params"]
    wanted = conv.apply({"params": params}, X)
    rows, columns = wanted.shape[1:3]
    tied = {
        "kernel": jnp.broadcast_to(params["kernel"], (rows, columns, *params["kernel"].shape)),
        "bias": jnp.broadcast_to(params["bias"], (rows, columns, 7)),
    }
    assert jax.tree.map(jnp.shape, local.init(KEY, X)["params"]) == jax.tree.map(jnp.shape, tied)
    np.testing.assert_allclose(local.apply({"params": tied}, X), wanted, atol=1e-5)
    # Another kernel at one place changes that place alone.
    moved = tied | {"kernel": tied["kernel"].at[1, 1].add(1.0)}
    changed = np.abs(np.asarray(local.apply({"params": moved}, X) - wanted)).max((0, 3)) > 1e-4
    assert changed[1, 1] and changed.sum() == 1


def test_local_connection_refuses_a_small_image():
    with pytest.raises(ValueError, match="^image:"):
        LocallyConnected(4, 3).init(KEY, jnp.zeros((1, 2, 2, 3)))
    assert "bias" not in LocallyConnected(4, 3, use_bias=False).init(KEY, jnp.zeros((1, 4, 4, 3)))["params"]

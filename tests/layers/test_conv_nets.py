"""The pieces of convolutional nets against PyTorch: pooling, squeeze-and-excitation, response norm, separable convolution."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import (
    Conv,
    ConvNorm,
    SeparableConv,
    SqueezeExcite,
    average_pool,
    global_mean,
    grid_pool,
    local_response_norm,
    max_pool,
)

torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
F = torch.nn.functional
KEY = jax.random.key(0)


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def first(x) -> "torch.Tensor":
    return torch.tensor(np.asarray(x)).permute(0, 3, 1, 2)


def last(tensor) -> np.ndarray:
    return tensor.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 2, 0), (3, 2, 1), (2, 2, 0), (3, 1, 1), (2, 2, 1), (3, 3, 1)])
def test_max_pooling(size, stride, padding, ceil):
    for height, width in ((7, 10), (8, 9), (4, 5)):
        x = draw(2, height, width, 3) - 5
        wanted = last(F.max_pool2d(first(x), size, stride, padding, ceil_mode=ceil))
        np.testing.assert_array_equal(max_pool(jnp.asarray(x), size, stride=stride, padding=padding, ceil=ceil), wanted)


@pytest.mark.parametrize("count_padding", [True, False])
@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 1, 1), (5, 3, 0), (2, 2, 0)])
def test_average_pooling(size, stride, padding, count_padding):
    x = draw(2, 7, 10, 3)
    wanted = last(F.avg_pool2d(first(x), size, stride, padding, count_include_pad=count_padding))
    found = average_pool(jnp.asarray(x), size, stride=stride, padding=padding, count_padding=count_padding)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("grid", [(4, 4), (7, 7), (1, 1), (9, 13), (7, 3)])
def test_pooling_to_a_grid(grid):
    x = draw(2, 9, 13, 3)
    np.testing.assert_allclose(grid_pool(jnp.asarray(x), *grid), last(F.adaptive_avg_pool2d(first(x), grid)), atol=1e-6)
    np.testing.assert_allclose(global_mean(x), x.mean((1, 2)), atol=1e-6)


def test_pooling_keeps_the_type_and_refuses_a_small_image():
    x = jnp.asarray(draw(1, 6, 6, 2), jnp.bfloat16)
    for found in (max_pool(x, 2, stride=2), average_pool(x, 2, stride=2), grid_pool(x, 4, 4), local_response_norm(x)):
        assert found.dtype == jnp.bfloat16
    assert global_mean(x).dtype == jnp.float32
    with pytest.raises(ValueError, match="^x:"):
        max_pool(x, 7, stride=2)


@pytest.mark.parametrize("size", [5, 4])
def test_local_response_norm(size):
    x = 10 * draw(2, 3, 4, 9)
    wanted = last(F.local_response_norm(first(x), size, alpha=0.1, beta=0.75, k=2.0))
    np.testing.assert_allclose(local_response_norm(jnp.asarray(x), size=size, alpha=0.1), wanted, rtol=1e-5)


def test_squeeze_and_excitation():
    from torchvision.ops import SqueezeExcitation

    network = SqueezeExcitation(6, 3, torch.nn.SiLU, torch.nn.Hardsigmoid)
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    params = {
        ours: {"kernel": tensors[f"{theirs}.weight"].transpose(2, 3, 1, 0), "bias": tensors[f"{theirs}.bias"]}
        for ours, theirs in (("reduce", "fc1"), ("expand", "fc2"))
    }
    x = draw(2, 5, 4, 6)
    module = SqueezeExcite(3, jax.nn.silu, jax.nn.hard_sigmoid)
    assert jax.tree.map(jnp.shape, module.init(KEY, x)["params"]) == jax.tree.map(jnp.shape, params)
    with torch.no_grad():
        np.testing.assert_allclose(module.apply({"params": params}, x), last(network(first(x))), atol=1e-6)
    narrow = SqueezeExcite(3, dtype="bfloat16").apply({"params": params}, jnp.asarray(x, jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("channels", "size", "whole", "factored"),
    [(512, 3, 2_359_296, 266_752), (1028, 3, 9_511_056, 1_066_036), (1028, 5, 26_419_600, 1_082_484)],
)
def test_a_separable_convolution_has_few_weights(channels, size, whole, factored):
    def count(module) -> int:
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(module.init, KEY, jnp.zeros((1, 9, 9, channels)))))

    assert count(Conv(channels, size, use_bias=False)) == whole
    assert count(SeparableConv(channels, size)) == factored


def test_a_separable_convolution_is_one_convolution_of_rank_one_a_pair():
    x, module = draw(2, 6, 5, 4), SeparableConv(3, 3, padding=0)
    params = module.init(KEY, x)["params"]
    kernel = params["depthwise"]["kernel"].transpose(0, 1, 3, 2) * params["pointwise"]["kernel"]  # [3, 3, 4, 3]
    wanted = Conv(3, 3, use_bias=False).apply({"params": {"kernel": kernel}}, x)
    np.testing.assert_allclose(module.apply({"params": params}, x), wanted, atol=1e-5)


def test_conv_norm_keeps_the_size_and_has_no_bias():
    x = jnp.asarray(draw(2, 6, 7, 4))
    module = ConvNorm(8, (1, 7), groups=2)
    variables = module.init(KEY, x, train=False)
    assert set(variables["params"]["conv"]) == {"kernel"} and variables["params"]["conv"]["kernel"].shape == (1, 7, 2, 8)
    found = module.apply(variables, x, train=False)
    assert found.shape == (2, 6, 7, 8) and bool(jnp.all(found >= 0))

"""Initialisers: PyTorch's ranges, the variances they promise, and the lecture's comparison of good and bad beginnings."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxvision.layers import Conv, Dense, initializers

KEY = jax.random.key(0)


def test_kernel_and_bias_lie_in_pytorchs_range():
    """U(+-1/sqrt(fan_in)), checked on PyTorch's own layers where it is installed."""
    for layer, shape, fan_in in ((Conv(64, 3, groups=2), (1, 5, 5, 16), 72), (Dense(400), (1, 50), 50)):
        params = layer.init(KEY, jnp.zeros(shape))["params"]
        for name, leaf in params.items():
            assert float(jnp.abs(leaf).max()) <= 1 / math.sqrt(fan_in), name
            np.testing.assert_allclose(np.std(leaf), 1 / math.sqrt(3 * fan_in), rtol=0.15, err_msg=name)
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
    for theirs, fan_in in ((torch.nn.Conv2d(16, 64, 3, groups=2), 72), (torch.nn.Linear(50, 400), 50)):
        for tensor in (theirs.weight, theirs.bias):
            np.testing.assert_allclose(tensor.detach().std(), 1 / math.sqrt(3 * fan_in), rtol=0.15)


@pytest.mark.parametrize(
    ("initializer", "deviation"),
    [
        (initializers.he_normal_fan_out, math.sqrt(2 / (9 * 128))),
        (initializers.truncated_normal(), 0.02),
        (initializers.small(), 0.01),
        (initializers.fan_in_scaled(), 1 / math.sqrt(9 * 32)),
        (initializers.fan_in_scaled(math.sqrt(2)), math.sqrt(2 / (9 * 32))),
    ],
)
def test_deviations(initializer, deviation):
    kernel = initializer(KEY, (3, 3, 32, 128))
    assert kernel.dtype == jnp.float32
    np.testing.assert_allclose(np.std(kernel), deviation, rtol=0.02)
    assert abs(float(kernel.mean())) < 4 * deviation / math.sqrt(kernel.size)


def test_truncation_cuts_at_two():
    assert float(jnp.abs(initializers.truncated_normal(5.0)(KEY, (1000,))).max()) == 2


def test_sparse_units_read_exactly_n_inputs():
    kernel = initializers.sparse(7)(KEY, (3, 3, 4, 50))
    counts = np.count_nonzero(np.asarray(kernel).reshape(36, 50), axis=0)  # [50]
    np.testing.assert_array_equal(counts, 7)
    assert np.count_nonzero(np.asarray(kernel).reshape(36, 50).any(axis=1)) == 36  # [36]: every input is read by someone
    with pytest.raises(ValueError, match="inputs: found 37, expected at most 36"):
        initializers.sparse(37)(KEY, (3, 3, 4, 50))


class Deep(nn.Module):
    """Ten dense ReLU layers: what becomes of a signal."""

    kernel_init: object

    @nn.compact
    def __call__(self, x):
        for _ in range(10):
            x = jax.nn.relu(Dense(128, use_bias=False, kernel_init=self.kernel_init)(x))
        return x


def test_small_numbers_vanish_in_depth_and_fan_in_scaling_keeps_the_signal():
    x = jax.random.normal(KEY, (32, 128))
    strength = {
        name: float(jnp.sqrt(jnp.mean(Deep(initializer).init_with_output(KEY, x)[0] ** 2)))
        for name, initializer in (("small", initializers.small()), ("scaled", initializers.fan_in_scaled(math.sqrt(2))))
    }
    assert strength["small"] < 1e-8 and 0.3 < strength["scaled"] < 3


def test_zeros_fail_by_symmetry():
    """Equal units receive equal gradients for ever: training from zeros (or any constant) leaves a net as wide as one unit."""

    class Net(nn.Module):
        kernel_init: object

        @nn.compact
        def __call__(self, x):
            return Dense(1, kernel_init=self.kernel_init)(jnp.tanh(Dense(8, kernel_init=self.kernel_init)(x)))

    x = jax.random.normal(KEY, (64, 2))
    target = jnp.sign(x[:, :1] * x[:, 1:])  # exclusive or: one unit cannot tell it

    @jax.jit
    def descend(net_params, net=None):
        def loss(params):
            return jnp.mean((Net(initializers.small()).apply({"params": params}, x) - target) ** 2)

        def step(params, _):
            return jax.tree.map(lambda leaf, grad: leaf - 0.3 * grad, params, jax.grad(loss)(params)), None

        params, _ = jax.lax.scan(step, net_params, length=800)
        return params, loss(params)

    def train(initializer):
        params = Net(initializer).init(KEY, x)["params"]
        params = jax.tree_util.tree_map_with_path(lambda path, leaf: leaf if "kernel" in str(path) else jnp.zeros_like(leaf), params)
        params, loss = descend(params)
        units = np.asarray(params["Dense_0"]["kernel"])  # [2, 8]
        return float(np.ptp(units, axis=1).max()), float(loss)

    for constant in (nn.initializers.zeros, nn.initializers.constant(0.5)):
        spread, loss = train(constant)
        assert spread < 1e-5 and loss > 0.7
    spread, loss = train(initializers.torch_default)
    assert spread > 0.1 and loss < 0.3

"""Initialisers: PyTorch's ranges, their documented variances, and signals in deep networks after good and bad initialisation."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxvision.layers import Conv, Dense, initializers

KEY = jax.random.key(0)


def test_kernel_and_bias_are_initialized_in_pytorchs_range():
    """U(+-1/sqrt(fan_in))."""
    for layer, shape, fan_in in ((Conv(64, 3, groups=2), (1, 5, 5, 16), 72), (Dense(400), (1, 50), 50)):
        params = layer.init(KEY, jnp.zeros(shape))["params"]
        for name, leaf in params.items():
            assert float(jnp.abs(leaf).max()) <= 1 / math.sqrt(fan_in), name
            np.testing.assert_allclose(np.std(leaf), 1 / math.sqrt(3 * fan_in), rtol=0.15, err_msg=name)


def test_that_range_is_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
    torch.manual_seed(0)
    for layer, fan_in in ((torch.nn.Conv2d(16, 64, 3, groups=2), 72), (torch.nn.Linear(50, 400), 50)):
        for tensor in (layer.weight.detach(), layer.bias.detach()):
            assert float(tensor.abs().max()) <= 1 / math.sqrt(fan_in)
            np.testing.assert_allclose(tensor.std(), 1 / math.sqrt(3 * fan_in), rtol=0.15)


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
    with pytest.raises(ValueError, match="^inputs:"):
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


class Shallow(nn.Module):
    """Eight tanh units under one output."""

    kernel_init: object

    @nn.compact
    def __call__(self, x):
        hidden = jnp.tanh(Dense(8, kernel_init=self.kernel_init, bias_init=nn.initializers.zeros, name="hidden")(x))
        return Dense(1, kernel_init=self.kernel_init, bias_init=nn.initializers.zeros, name="out")(hidden)


def test_zero_initialization_fails_by_symmetry():
    """Equal units receive equal gradients for ever: begun from zeros, or any constant, eight units stay one."""
    x = jax.random.normal(KEY, (64, 2))
    target = jnp.sign(x[:, :1] * x[:, 1:])  # exclusive or: one unit cannot tell it

    def loss(params):
        return jnp.mean((Shallow(nn.initializers.zeros).apply({"params": params}, x) - target) ** 2)

    @jax.jit
    def descend(params):
        def step(params, _):
            return jax.tree.map(lambda leaf, grad: leaf - 0.3 * grad, params, jax.grad(loss)(params)), None

        params, _ = jax.lax.scan(step, params, length=400)
        return params, loss(params)

    def train(initializer):
        params, final = descend(Shallow(initializer).init(KEY, x)["params"])
        return float(np.ptp(params["hidden"]["kernel"], axis=1).max()), float(final)

    for constant in (nn.initializers.zeros, nn.initializers.constant(0.5)):
        deviation, final = train(constant)
        assert deviation < 1e-5 and final > 0.7
    for initializer in (initializers.torch_default, initializers.fan_in_scaled(), initializers.sparse(1)):
        deviation, final = train(initializer)
        assert deviation > 0.1 and final < 0.4

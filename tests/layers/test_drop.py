"""Dropout and DropPath: the expected value, independent examples, and the same draws on any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec

from jaxvision.layers import Dropout, DropPath

KEY = jax.random.key(3)


def drop(layer: nn.Module, x, key=KEY):
    return layer.apply({}, x, train=True, rngs={"dropout": key})


@pytest.mark.parametrize("rate", [0.2, 0.7])
def test_dropout_keeps_the_expectation(rate):
    """At a rate other than 0.5 dividing by the rate and by 1 - rate differ."""
    found = drop(Dropout(rate), jnp.full((100, 2000), 3.0))
    deviation = 3 * np.sqrt(rate / (1 - rate) / found.size)
    assert abs(float(found.mean()) - 3) < 5 * deviation
    np.testing.assert_allclose(np.unique(found), [0, 3 / (1 - rate)], rtol=1e-6)
    np.testing.assert_allclose(float(jnp.mean(found == 0)), rate, atol=0.01)


def test_drop_path_drops_whole_examples():
    found = drop(DropPath(0.3), jnp.ones((4000, 2, 3)))
    kept = np.asarray(found[:, 0, 0] > 0)
    np.testing.assert_allclose(found, np.broadcast_to(kept[:, None, None] / 0.7, found.shape), rtol=1e-6)
    np.testing.assert_allclose(kept.mean(), 0.7, atol=0.04)


@pytest.mark.parametrize("layer", [Dropout(0.4), DropPath(0.4)], ids=["dropout", "drop_path"])
def test_every_number_of_devices_draws_the_same(layer):
    x = jnp.ones((16, 8))
    wanted = drop(layer, x)
    assert len(np.unique(wanted, axis=0)) > 1
    for devices in (1, 2, 4, 8):
        mesh = jax.make_mesh((devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:devices])
        split = PartitionSpec("data")
        sharded = jax.shard_map(lambda x: drop(layer, x), mesh=mesh, in_specs=split, out_specs=split, check_vma=False)
        np.testing.assert_array_equal(jax.jit(sharded)(x), wanted)
    np.testing.assert_array_equal(drop(layer, x[:5]), wanted[:5])  # nor does an example's draw depend on the batch size


def test_two_layers_and_two_keys_draw_differently():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            return Dropout(0.5)(x, train=train), Dropout(0.5)(x, train=train)

    x = jnp.ones((2, 100))
    first, second = drop(Two(), x)
    assert not jnp.array_equal(first, second)
    assert not jnp.array_equal(first, drop(Two(), x, jax.random.key(4))[0])


@pytest.mark.parametrize("layer", [Dropout, DropPath])
def test_evaluation_and_rate_zero_change_nothing_and_need_no_key(layer):
    x = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(layer(0.9).apply({}, x, train=False), x)
    np.testing.assert_array_equal(layer(0.0).apply({}, x, train=True), x)
    assert drop(layer(0.5), x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    for rate in (-0.1, 1.0):
        with pytest.raises(ValueError, match="^rate:"):
            layer(rate).apply({}, x, train=True)

"""Leaky ReLU and the share of dead units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import dead_units, leaky_relu


def test_leaky_relu_and_its_gradient():
    x = jnp.array([-2.0, -0.5, 0.5, 3.0])
    np.testing.assert_allclose(leaky_relu(x), [-0.02, -0.005, 0.5, 3], rtol=1e-6)
    np.testing.assert_allclose(leaky_relu(x, negative_slope=0.2), [-0.4, -0.1, 0.5, 3], rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(leaky_relu))(x), [0.01, 0.01, 1, 1], rtol=1e-6)


def test_the_share_of_dead_units():
    activations = jnp.zeros((3, 2, 2, 4)).at[2, 1, 0, 1].set(0.1).at[:, :, :, 3].set(1.0)
    assert float(dead_units(activations)) == 0.5
    assert float(dead_units(activations[:2])) == 0.75  # the unit fires for the third example only
    with pytest.raises(ValueError, match="^activations:"):
        dead_units(jnp.ones(4))


def test_units_pushed_below_zero_are_dead_under_relu_and_learn_under_leaky_relu():
    """After a step that is too large no input gives the unit a positive value, and it gets no gradient."""
    x = jax.random.normal(jax.random.key(0), (50, 3))
    kernel, bias = jax.random.normal(jax.random.key(1), (3, 10)), jnp.zeros(10).at[:4].set(-100.0)
    hidden = x @ kernel + bias
    np.testing.assert_allclose(dead_units(jax.nn.relu(hidden)), 0.4, rtol=1e-6)
    moved = {
        name: jnp.any(jax.grad(lambda kernel: jnp.sum(activation(x @ kernel + bias)))(kernel) != 0, axis=0)
        for name, activation in (("relu", jax.nn.relu), ("leaky", leaky_relu))
    }
    np.testing.assert_array_equal(moved["relu"], [False] * 4 + [True] * 6)
    assert moved["leaky"].all()

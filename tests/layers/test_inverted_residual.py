"""The inverted residual: its parts, its shortcut, and stochastic depth on the branch alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import InvertedResidual

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"features": 6, "hidden": 12, "squeeze": 2}, {"expand", "depthwise", "squeeze", "project"}),
        ({"features": 6, "hidden": 6}, {"depthwise", "project"}),
    ],
)
def test_parts_that_change_nothing_are_left_out(options, parts):
    module = InvertedResidual(kernel_size=3, **options)
    x = jnp.ones((1, 5, 5, 6))
    assert set(module.init(KEY, x, train=False)["params"]) == parts


def test_the_shortcut_needs_equal_shapes():
    x = jax.random.normal(KEY, (2, 6, 6, 4))
    for features, stride, shortcut in ((4, 1, True), (8, 1, False), (4, 2, False)):
        module = InvertedResidual(features, 8, 3, stride)
        variables = module.init(KEY, x, train=False)
        variables["params"]["project"]["norm"]["scale"] *= 0  # the branch is its last bias, zero
        found = module.apply(variables, x, train=False)
        np.testing.assert_array_equal(found, x if shortcut else jnp.zeros((2, 6 // stride, 6 // stride, features)))


def test_stochastic_depth_drops_whole_branches():
    x = jax.random.normal(KEY, (64, 3, 3, 4))
    module = InvertedResidual(4, 8, 3, drop_path_rate=0.5)
    variables = module.init(KEY, x, train=False)
    found, _ = module.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": KEY})
    dropped = np.all(np.asarray(found == x), axis=(1, 2, 3))
    assert 0.2 < dropped.mean() < 0.8

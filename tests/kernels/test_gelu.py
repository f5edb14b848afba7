"""The exact GELU against its reference, its definition in float64 and its derivatives in closed form; what the backward pass keeps."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.kernels import gelu, plain_gelu

PLACES = np.linspace(-9, 9, 3001)


def cdf(x):
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x])


def density(x):
    return np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 3e-7), ("float64", 1e-15)])
def test_value_and_derivatives_are_the_definition(dtype, bound):
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(PLACES, dtype)
        wide = np.asarray(x, np.float64)
        first, second = jax.vmap(jax.grad(gelu)), jax.vmap(jax.grad(jax.grad(gelu)))
        np.testing.assert_allclose(gelu(x), wide * cdf(wide), atol=9 * bound)
        np.testing.assert_allclose(first(x), cdf(wide) + wide * density(wide), atol=2 * bound)
        np.testing.assert_allclose(second(x), (2 - wide**2) * density(wide), atol=2 * bound)
        assert gelu(x).dtype == first(x).dtype == dtype


def test_it_is_its_reference_forward_and_backward():
    x, tangent = np.float32(PLACES), np.cos(np.float32(PLACES))
    for ours, theirs in zip(jax.jvp(gelu, (x,), (tangent,)), jax.jvp(plain_gelu, (x,), (tangent,)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=3e-6)
    (ours,), (theirs,) = (jax.vjp(function, x)[1](tangent) for function in (gelu, plain_gelu))
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_half_precision_is_computed_wide_and_comes_back():
    x = jnp.asarray(PLACES, jnp.bfloat16)
    wide = np.asarray(x, np.float64)
    assert gelu(x).dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float64(gelu(x)), wide * cdf(wide), rtol=2**-8, atol=1e-6)


def test_the_backward_pass_keeps_one_array():
    _, back = jax.vjp(gelu, np.float32(PLACES))
    assert [kept.shape for kept in jax.tree.leaves(back) if kept.shape] == [PLACES.shape]

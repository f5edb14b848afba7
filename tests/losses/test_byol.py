"""BYOL's loss: closed forms, lengths of zero, digits of nearly equal directions."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv

RNG = np.random.default_rng(0)
Z1, Z2 = RNG.standard_normal((2, 16, 6)).astype(np.float32)


def test_byol_is_the_angle_between_directions():
    assert jv.losses.byol(Z1, 3 * Z1) < 1e-6
    assert float(jv.losses.byol(Z1, -Z1)) == pytest.approx(4, rel=1e-6)
    assert float(jv.losses.byol(jnp.eye(2), jnp.eye(2)[::-1])) == pytest.approx(2, rel=1e-6)
    assert jv.losses.byol(jnp.zeros((1, 3)), Z1[:1, :3]) == pytest.approx(2, rel=1e-6)  # the cosine with zero is zero
    small = 1e-4  # cos = 1 - 5e-9 is 1 in float32; the distance is not lost
    assert float(jv.losses.byol(jnp.array([[1.0, small]]), jnp.array([[1.0, 0.0]]))) == pytest.approx(small**2, rel=1e-3)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="prediction, target"):
        jv.losses.byol(Z1, Z2[:3])

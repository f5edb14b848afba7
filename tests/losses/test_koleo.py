"""BYOL, Barlow Twins, KoLeo and the effective rank: closed forms and degenerate batches."""

import math

import jax
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


def test_barlow_twins_of_independent_features_is_zero():
    """Rows of a Hadamard matrix: every feature has mean 0, variance 1 and correlation 0 with the others."""
    signs = np.array([[1]])
    for _ in range(3):
        signs = np.block([[signs, signs], [signs, -signs]])
    features = signs[:, 1:].astype(np.float32)
    assert jv.losses.barlow_twins(features, features) < 1e-8
    copied = np.repeat(features[:, :1], 3, axis=1)
    assert float(jv.losses.barlow_twins(copied, copied)) == pytest.approx(0.005 * 6, rel=1e-3)
    assert float(jv.losses.barlow_twins(np.ones((8, 3)), np.ones((8, 3)))) == pytest.approx(3)


def test_koleo_looks_at_the_nearest():
    angles = np.array([0.0, 0.1, 2.0, 3.0])
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1) * [[1.0], [5.0], [2.0], [0.1]]
    near = [2 * math.sin(angle / 2) for angle in (0.1, 0.1, 1.0, 1.0)]
    assert float(jv.losses.koleo(circle)) == pytest.approx(-np.mean(np.log(near)), rel=1e-5)
    value, slope = jax.value_and_grad(jv.losses.koleo)(jnp.ones((4, 3)))
    assert np.isfinite(value) and not np.any(slope)
    assert jv.losses.koleo(Z1[:1]) == 0


@pytest.mark.parametrize("directions", [1, 2, 5])
@pytest.mark.parametrize("width", [6, 200])
def test_the_effective_rank_counts_directions(directions, width):
    basis, _ = np.linalg.qr(RNG.standard_normal((width, directions)))
    rows = np.linalg.qr(np.hstack([np.ones((64, 1)), RNG.standard_normal((64, directions))]))[0][:, 1:]  # equal variance, mean 0
    features = 1e-6 * (rows @ basis.T + 3).astype(np.float32)
    assert float(jv.losses.effective_rank(features)) == pytest.approx(directions, rel=1e-3)


def test_the_effective_rank_of_equal_rows_is_zero():
    assert jv.losses.effective_rank(np.ones((5, 3))) == 0
    assert jv.losses.effective_rank(Z1[:1]) == 0
    assert 1 < jv.losses.effective_rank(Z1) < 6
    assert np.isfinite(jax.grad(jv.losses.effective_rank)(jnp.ones((5, 3)))).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jv.losses.byol(Z1, Z2[:3]), "prediction, target"),
        (lambda: jv.losses.barlow_twins(Z1[0], Z2[0]), "z1, z2"),
        (lambda: jv.losses.koleo(Z1[0]), "features"),
        (lambda: jv.losses.effective_rank(Z1[0]), "features"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

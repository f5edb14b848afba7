"""KoLeo and the effective rank: closed forms and degenerate batches."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv

RNG = np.random.default_rng(0)
Z1 = RNG.standard_normal((16, 6)).astype(np.float32)


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


@pytest.mark.parametrize("loss", [jv.losses.koleo, jv.losses.effective_rank])
def test_another_rank_is_refused(loss):
    with pytest.raises(ValueError, match="features"):
        loss(Z1[0])

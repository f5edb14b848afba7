"""Barlow Twins: uncorrelated, copied and constant features."""

import numpy as np
import pytest

import jaxvision as jv

RNG = np.random.default_rng(0)
Z1, Z2 = RNG.standard_normal((2, 16, 6)).astype(np.float32)


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


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="z1, z2"):
        jv.losses.barlow_twins(Z1[0], Z2[0])

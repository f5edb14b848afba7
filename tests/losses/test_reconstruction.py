"""Masked and plain squared errors and the KL divergence of a Gaussian code: what is ignored, and shapes that do not fit."""

import jax
import numpy as np
import pytest

import jaxvision as jv
from tests.oracles import reconstruction as oracle

RNG = np.random.default_rng(0)
PREDICTION, TARGET = RNG.standard_normal((2, 3, 5, 4)).astype(np.float32)
MASK = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])


@pytest.mark.parametrize("dtype", [bool, np.int32, np.float32])
def test_visible_patches_are_ignored(dtype):
    mask = MASK.astype(dtype)
    value, slope = jax.value_and_grad(jv.losses.masked_mse)(PREDICTION, TARGET, mask)
    hidden = MASK[..., None] == 1
    elsewhere = np.where(hidden, PREDICTION, np.float32("nan"))
    assert jv.losses.masked_mse(elsewhere, np.where(hidden, TARGET, 7), mask) == value
    assert not np.any(slope[~hidden[..., 0]]) and np.all(slope[hidden[..., 0]])


def test_the_target_is_standardised_patch_by_patch():
    ours = jv.losses.masked_mse(PREDICTION, TARGET, MASK)
    assert float(ours) == pytest.approx(float(jv.losses.masked_mse(PREDICTION, 3 * TARGET + 10, MASK)), rel=1e-5)
    flat = jv.losses.masked_mse(np.zeros_like(PREDICTION), np.ones_like(TARGET), MASK)
    assert flat == 0
    assert np.isfinite(jv.losses.masked_mse(PREDICTION[..., :1], TARGET[..., :1], MASK))


@pytest.mark.parametrize("normalize", [True, False])
def test_nothing_hidden_costs_nothing(normalize):
    loss = lambda prediction: jv.losses.masked_mse(prediction, TARGET, 0 * MASK, normalize_target=normalize)  # noqa: E731
    value, slope = jax.value_and_grad(loss)(PREDICTION)
    assert value == 0 and not np.any(slope)


def test_a_mask_with_a_nan_is_not_a_mask_without():
    mask = MASK.astype(np.float32)
    mask[1, 2] = np.nan
    assert np.isnan(jv.losses.masked_mse(PREDICTION, TARGET, mask))


def test_a_standard_gaussian_costs_nothing_and_a_near_one_keeps_its_digits():
    zeros = np.zeros((2, 3), np.float32)
    assert jv.losses.gaussian_kl(zeros, zeros) == 0
    near = np.full((2, 3), 1e-3, np.float32)
    expected = oracle.gaussian_kl(np.zeros((2, 3)), near.astype(np.longdouble))
    assert float(jv.losses.gaussian_kl(zeros, near)) == pytest.approx(float(expected), rel=1e-3)


def test_the_squared_error_takes_any_shape():
    assert float(jv.losses.mean_squared_error(PREDICTION, TARGET)) == pytest.approx(np.mean((PREDICTION - TARGET) ** 2), rel=1e-6)
    images = np.full((2, 3), 200, np.uint8)
    assert jv.losses.mean_squared_error(images, np.zeros((2, 3), np.uint8)) == 40_000  # whole numbers do not overflow


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jv.losses.masked_mse(PREDICTION, TARGET[:1], MASK), "prediction, target"),
        (lambda: jv.losses.masked_mse(PREDICTION, TARGET, MASK[:1]), "mask"),
        (lambda: jv.losses.mean_squared_error(PREDICTION, TARGET[0]), "prediction, target"),
        (lambda: jv.losses.gaussian_kl(PREDICTION[0], TARGET[0, 0]), "mean, log_variance"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

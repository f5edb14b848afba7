"""The choice of the best epoch: a case of overfitting, ties, nan, patience."""

import math

import numpy as np
import pytest

from jaxvision.evaluate import Best, track


def selected(values, *, patience=None, **options) -> tuple[Best, int]:
    """The best of a sequence of values, one an epoch, and the epoch at which the run stopped."""
    best = Best()
    for epoch, value in enumerate(values, 1):
        best, _ = track(best, value, epoch, **options)
        if patience is not None and best.stale >= patience:
            break
    return best, epoch


def test_the_least_validation_loss_is_chosen_where_a_model_overfits():
    """Training loss only falls; validation loss falls, then rises: its least value is chosen and patience ends the run."""
    epochs = np.arange(1, 31)
    train, validation = 2 * np.exp(-epochs / 5), 2 * np.exp(-epochs / 5) + 0.002 * epochs**2
    least = int(validation.argmin()) + 1
    assert (np.diff(train) < 0).all() and 1 < least < 20
    best, stopped = selected(validation, patience=4, higher_is_better=False)
    assert (best.step, stopped) == (least, least + 4)
    assert best.value == pytest.approx(validation.min(), rel=1e-6)
    assert selected(train, patience=4, higher_is_better=False)[1] == 30  # by training loss it would never stop


def test_accuracy_is_better_when_higher():
    best, _ = selected([0.5, 0.9, 0.8])
    assert (best.step, best.stale) == (2, 1) and best.value == np.float32(0.9)


@pytest.mark.parametrize("higher", [True, False])
def test_a_tie_keeps_the_earlier_and_counts_as_stale(higher):
    best, new = track(Best(np.float32(0.5), np.int32(3), np.int32(0)), 0.5, 4, higher_is_better=higher)
    assert (best.step, best.stale, new) == (3, 1, False)


@pytest.mark.parametrize("higher", [True, False])
def test_nan_is_never_best(higher):
    best, new = track(Best(), math.nan, 1, higher_is_better=higher)
    assert (best.step, best.stale, new) == (-1, 1, False)
    best, new = track(best, -7.0, 2, higher_is_better=higher)
    assert (best.step, best.stale, new) == (2, 0, True)
    assert track(best, math.nan, 3, higher_is_better=higher)[0].step == 2


def test_types_stay_so_that_a_checkpoint_can_hold_them():
    best, _ = selected([1, 2.5, np.float64(3)])
    assert [np.asarray(value).dtype for value in best] == [np.asarray(value).dtype for value in Best()] == [np.float32, np.int32, np.int32]

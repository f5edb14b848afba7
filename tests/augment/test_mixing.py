"""Mixup and cutmix: exact mixtures with the neighbour, labels that sum to one, shares distributed as the papers say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxvision as jv
from tests.marks import slow

KEY = jax.random.key(11)


def batch_of(count: int, side: int = 6, classes: int = 9) -> dict:
    rng = np.random.default_rng(count)
    return {"image": jnp.asarray(rng.random((count, side, side, 2), np.float32)), "label": jnp.arange(count) % classes}


@pytest.mark.parametrize(("count", "soft"), [slow(1, False), (2, True), slow(5, False)])
def test_mixup_is_the_convex_combination_that_its_label_says(count, soft):
    batch = batch_of(count)
    label = jax.nn.one_hot(batch["label"], 9)
    found = jax.jit(jv.augment.mixup(1.0, num_classes=9))(KEY, batch | ({"label": label} if soft else {}))
    np.testing.assert_allclose(found["label"].sum(1), np.ones(count), rtol=1e-6)
    share = jnp.sum(found["label"] * label, axis=1) if count > 1 else jnp.ones(1)
    kept = share[:, None, None, None]
    np.testing.assert_allclose(found["image"], kept * batch["image"] + (1 - kept) * jnp.roll(batch["image"], 1, 0), atol=1e-6)
    np.testing.assert_allclose(found["label"], share[:, None] * label + (1 - share[:, None]) * jnp.roll(label, 1, 0), atol=1e-6)


@pytest.mark.parametrize("count", [slow(1), 5])
def test_cutmix_pastes_a_box_and_its_label_says_how_large(count):
    batch = batch_of(count)
    found = jax.jit(jv.augment.cutmix(num_classes=9))(KEY, batch)
    np.testing.assert_allclose(found["label"].sum(1), np.ones(count), rtol=1e-6)
    if count == 1:
        np.testing.assert_array_equal(found["image"], batch["image"])
        return
    pasted = np.all(found["image"] == jnp.roll(batch["image"], 1, 0), axis=-1)  # [B, H, W]
    assert np.all(pasted | np.all(found["image"] == batch["image"], axis=-1))
    for box, label, own in zip(pasted, found["label"], batch["label"], strict=True):
        np.testing.assert_array_equal(box, np.outer(box.any(1), box.any(0)))
        for side in (box.any(0), box.any(1)):
            assert np.sum(np.diff(side, prepend=False, append=False)) <= 2  # one run of rows, one of columns
        np.testing.assert_allclose(label[own], 1 - box.mean(), atol=1e-6)


def shares(function, side: int) -> np.ndarray:
    """What 2,000 examples of class 0, each after one of class 1, keep of their own label."""
    batch = {"image": jnp.zeros((4000, side, side, 1)), "label": jnp.arange(4000) % 2}
    return np.asarray(jax.jit(function)(KEY, batch)["label"])[::2, 0]


def test_the_share_of_mixup_is_beta():
    assert stats.kstest(shares(jv.augment.mixup(0.5, num_classes=2), 1), stats.beta(0.5, 0.5).cdf).pvalue > 0.01


def test_the_share_of_cutmix_is_that_of_the_paper():
    rng, side, expected = np.random.default_rng(0), 16, []
    for _ in range(2000):
        half = int(side * np.sqrt(1 - rng.beta(1.0, 1.0))) // 2
        centre = rng.integers(side, size=2)
        low, high = np.clip(centre - half, 0, side), np.clip(centre + half, 0, side)
        expected.append(1 - np.prod(high - low) / side**2)
    assert stats.ks_2samp(shares(jv.augment.cutmix(num_classes=2), side), expected).pvalue > 0.01


def test_probability_leaves_examples_as_they_are():
    batch = batch_of(4)
    for function in (jv.augment.mixup, jv.augment.cutmix):
        found = jax.jit(function(num_classes=9, probability=0.0))(KEY, batch)
        np.testing.assert_array_equal(found["image"], batch["image"])
        np.testing.assert_array_equal(found["label"], jax.nn.one_hot(batch["label"], 9))
    assert abs(np.mean(shares(jv.augment.mixup(1.0, num_classes=2, probability=0.3), 1) < 1) - 0.3) < 0.04


def test_each_example_gets_mixup_or_cutmix():
    batch = batch_of(1000)
    found = jax.jit(jv.augment.mixup_or_cutmix(num_classes=9, switch=0.3))(KEY, batch)
    np.testing.assert_allclose(found["label"].sum(1), np.ones(1000), rtol=1e-6)
    own, pasted = (np.all(found["image"] == image, axis=-1) for image in (batch["image"], jnp.roll(batch["image"], 1, 0)))
    assert abs(np.mean(np.all(own | pasted, axis=(1, 2))) - 0.3) < 0.05


def test_a_second_mixture_draws_again_and_keeps_the_mass():
    function = jv.augment.chain(jv.augment.mixup(1.0, num_classes=9), jv.augment.mixup(1.0, num_classes=9))
    label = jax.jit(function)(KEY, batch_of(5))["label"]
    np.testing.assert_allclose(label.sum(1), np.ones(5), rtol=1e-6)
    assert np.all(np.sum(label > 0, axis=1) == 3)  # itself, its neighbour, and the neighbour's


@pytest.mark.parametrize(("make", "wrong"), [(jv.augment.mixup, -1), (jv.augment.cutmix, 9)])
def test_no_target_is_silently_zero(make, wrong):
    """A class that there is none of: an error where values can be seen, NaN in its own row and its neighbour's where they cannot."""
    batch, mix = batch_of(4) | {"label": jnp.array([0, wrong, 8, 3])}, make(num_classes=9)
    with pytest.raises(ValueError, match="^label"):
        mix(KEY, batch)
    label = np.asarray(jax.jit(mix)(KEY, batch)["label"])
    np.testing.assert_array_equal(np.isnan(label).all(1), [False, True, True, False])
    np.testing.assert_allclose(label[[0, 3]].sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jv.augment.mixup(0.0, num_classes=9), "^alpha"),
        (lambda: jv.augment.mixup_or_cutmix(num_classes=9, cutmix_alpha=-1), "^cutmix_alpha"),
        (lambda: jv.augment.mixup_or_cutmix(num_classes=9, switch=2), "^switch"),
        (lambda: jv.augment.cutmix(num_classes=9, probability=2), "^probability"),
        (lambda: jv.augment.mixup(num_classes=9)(KEY, batch_of(3) | {"label": jnp.ones((3, 4))}), "^label"),
        (lambda: jv.augment.mixup(num_classes=9)(KEY, batch_of(3) | {"label": jnp.ones(3)}), "^label"),
        (lambda: jv.augment.mixup(num_classes=9)(KEY, {"image": jnp.ones((6, 6, 2)), "label": jnp.ones(6, int)}), "^image"),
    ],
)
def test_wrong_mixing_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()

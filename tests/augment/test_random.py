"""Chance: as often as asked, with a key of its own, and only where the results fit together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxvision as jv
from jaxvision.augment.random import draw
from tests.marks import slow

IMAGE = jnp.full((4, 5, 3), 0.25)
KEYS = jax.random.split(jax.random.key(8), 4000)


def adding(amount: float):
    return lambda key, image: image + amount


def test_an_operation_is_applied_as_often_as_asked():
    found = jax.jit(jax.vmap(jv.augment.random_apply(adding(1.0), 0.3), (0, None)))(KEYS, IMAGE)
    applied = np.asarray(found[:, 0, 0, 0] > 1)
    assert np.all(found == np.where(applied, 1.25, 0.25)[:, None, None, None])
    assert stats.binomtest(int(applied.sum()), len(KEYS), 0.3).pvalue > 0.01


def test_a_sure_operation_needs_no_key_of_its_own():
    np.testing.assert_array_equal(jv.augment.random_apply(adding(1.0), 1.0)(None, IMAGE), IMAGE + 1)
    np.testing.assert_array_equal(jv.augment.random_apply(adding(1.0), 0)(KEYS[0], IMAGE), IMAGE)


def test_whether_and_what_are_independent():
    noise = lambda key, image: image + jax.random.uniform(key)  # noqa: E731
    found = np.asarray(jax.jit(jax.vmap(jv.augment.random_apply(noise, 0.5), (0, None)))(KEYS, IMAGE))[:, 0, 0, 0] - 0.25
    assert stats.kstest(found[found > 0], stats.uniform.cdf).pvalue > 0.01


@pytest.mark.parametrize("weights", [None, (1, 2, 0, 5)])
def test_one_of_takes_each_as_often_as_its_weight(weights):
    choose = jv.augment.one_of(*(adding(float(place)) for place in range(4)), weights=weights)
    found = np.asarray(jax.jit(jax.vmap(choose, (0, None)))(KEYS, IMAGE))[:, 0, 0, 0] - 0.25
    counts = np.bincount(found.astype(int), minlength=4)
    expected = np.array(weights or (1, 1, 1, 1)) / sum(weights or (1, 1, 1, 1)) * len(KEYS)
    assert np.all(counts[expected == 0] == 0)
    assert stats.chisquare(counts[expected > 0], expected[expected > 0]).pvalue > 0.01


def test_one_of_gives_the_chosen_operation_a_key():
    seen = jax.vmap(jv.augment.one_of(lambda key, image: image * jax.random.uniform(key)), (0, None))(KEYS[:50], IMAGE)
    assert len(np.unique(seen)) == 50


def test_a_pair_is_drawn_and_a_number_is_itself():
    assert draw(None, 3, 0.5) == [3, 0.5]
    fixed, first, second = jax.vmap(lambda key: jnp.stack(draw(key, 2.0, (-1.0, 3.0), (0.0, 1.0))))(KEYS).T
    assert np.all(fixed == 2)
    assert stats.kstest((np.asarray(first) + 1) / 4, stats.uniform.cdf).pvalue > 0.01
    assert stats.kstest(np.asarray(second), stats.uniform.cdf).pvalue > 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


@pytest.mark.slow
def test_the_size_of_the_batch_does_not_matter():
    """What draws amounts, one operation after the other, on images whose draws differ."""
    recipe = jv.augment.chain(
        jv.augment.affine((-20.0, 20.0), translate=(0.1, 0.1), scale=(0.8, 1.2), shear=(-9.0, 9.0)),
        jv.augment.quarter_turns(),
        jv.augment.one_of(jv.augment.solarize((0.2, 0.9)), jv.augment.equalize(), jv.augment.invert()),
        jv.augment.gaussian_noise((0.0, 0.1)),
        jv.augment.cutout(5),
        jv.augment.random_erasing(value="random"),
    )
    images = jnp.asarray(np.random.default_rng(0).random((64, 16, 16, 3), np.float32))
    mapped = jax.vmap(recipe)
    whole = jax.jit(mapped)(KEYS[:64], images)
    for size in (1, 7):
        np.testing.assert_allclose(jax.jit(mapped)(KEYS[20 : 20 + size], images[20 : 20 + size]), whole[20 : 20 + size], atol=1e-5)


@pytest.mark.parametrize("make", [lambda: jv.augment.affine((-9.0, 9.0)), slow(jv.augment.gaussian_noise)])
def test_compilation_does_not_matter(make):
    image = jnp.asarray(np.random.default_rng(0).random((8, 8, 3), np.float32))
    np.testing.assert_allclose(make()(KEYS[0], image), jax.jit(make())(KEYS[0], image), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jv.augment.random_apply(adding(1), 1.2), "^probability"),
        (lambda: jv.augment.random_apply(adding(1), 0.5)(None, IMAGE), "^key"),
        (lambda: jv.augment.random_apply(jv.augment.center_crop(2), 0.5)(KEYS[0], IMAGE), "^operation: "),
        (lambda: jv.augment.one_of(), "^weights: "),
        (lambda: jv.augment.one_of(adding(1), weights=(1, 2)), "^weights"),
        (lambda: jv.augment.one_of(adding(1), weights=(0,)), "^weights: "),
        (
            lambda: jv.augment.one_of(adding(1), jv.augment.center_crop(2))(KEYS[0], IMAGE),
            "^operations",
        ),
    ],
)
def test_wrong_random_operations_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()

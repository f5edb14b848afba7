"""Linear probes: the optimum of scikit-learn, regularization selected without test rows, SGD, and an unchanged backbone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.data.source import stratified
from tests.evaluate.test_knn import clouds

ROWS = np.random.default_rng(5).normal(0, 2, (20_000, 6)).astype(np.float32)  # many rows, to compare the predictions of two layers
TRAIN, TEST = clouds(300, noise=1.0), clouds(200, noise=1.0, seed=1)


@pytest.mark.parametrize("regularization", [1e-3, 0.01, 0.3])
def test_the_layer_is_the_optimum_of_scikit_learn(regularization):
    linear_model = pytest.importorskip("sklearn.linear_model")
    options = {"C": 1 / (300 * regularization), "tol": 1e-10, "max_iter": 10_000}
    reference = linear_model.LogisticRegression(**options).fit(TRAIN[0].astype(np.float64), TRAIN[1])
    options = {"regularization": regularization, "standardize": False}
    assert jv.evaluate.linear_probe(*TRAIN, ROWS, reference.predict(ROWS), **options)["top1"] > 0.999
    found = jv.evaluate.linear_probe(*TRAIN, *TEST, **options)
    assert found == {"top1": pytest.approx(reference.score(*TEST), abs=0.006), "regularization": regularization}


def test_regularization_is_selected_on_held_out_training_rows():
    """Many columns of noise make the regularization matter. Other test labels do not change its value; calls repeat."""
    draw = np.random.default_rng(0)
    (train, labels), (test, classes) = clouds(300, noise=0.6), clouds(200, noise=0.6, seed=1)
    train, test = (np.concatenate([features, draw.standard_normal((len(features), 250))], 1) for features in (train, test))
    found = jv.evaluate.linear_probe(train, labels, test, classes, standardize=False)
    assert found == jv.evaluate.linear_probe(train, labels, test, classes, standardize=False)
    other = jv.evaluate.linear_probe(train, labels, test, (classes + 1) % 4, standardize=False)
    assert other["regularization"] == found["regularization"] and other["top1"] < found["top1"]
    held_out = stratified(labels, 0.2, seed=0)
    parts = (train[~held_out], labels[~held_out], train[held_out], labels[held_out])
    scores = {
        value: jv.evaluate.linear_probe(*parts, regularization=value, standardize=False)["top1"] for value in 10.0 ** np.arange(-6, 2)
    }
    assert scores[found["regularization"]] == max(scores.values()) > min(scores.values())


def test_units_and_constant_columns_do_not_matter():
    scale, shift = np.array([1e-3, 1, 10, 1e4, 1, 1], np.float32), np.array([5, 0, 0, 0, 0, 0], np.float32)
    changed = [np.concatenate([features * scale + shift, np.full((len(features), 1), 7)], 1) for features in (TRAIN[0], TEST[0])]
    plain = jv.evaluate.linear_probe(*TRAIN, *TEST)
    moved = jv.evaluate.linear_probe(changed[0], TRAIN[1], changed[1], TEST[1])
    assert moved["regularization"] == plain["regularization"] and moved["top1"] == pytest.approx(plain["top1"], abs=0.006)


@pytest.mark.parametrize("probe", [partial(jv.evaluate.linear_probe, regularization=0.1), jv.evaluate.linear_probe_sgd])
def test_standardisation_uses_the_training_rows_alone(probe):
    """The result is that of standardised features. Test features on another scale are not scaled back."""
    mean, std = TRAIN[0].astype(np.float64).mean(0), TRAIN[0].astype(np.float64).std(0)
    expected = [(features - mean) / std for features in (TRAIN[0], TEST[0])]
    found = probe(*TRAIN, *TEST)["top1"]
    assert found == pytest.approx(probe(expected[0], TRAIN[1], expected[1], TEST[1], standardize=False)["top1"], abs=0.006)
    moved = TEST[0] * np.float32(0.5) - np.array([9, -9, 9, -9, 9, -9], np.float32)
    assert probe(*TRAIN, moved, TEST[1])["top1"] < found - 0.1


def test_sgd_has_momentum_and_a_cosine_schedule():
    """Three steps over all rows, computed in float64: the layer gives the same predictions. At a constant rate it does not."""
    rows = np.pad(TRAIN[0].astype(np.float64), ((0, 0), (0, 1)), constant_values=1)  # [N, D + 1], the last for the bias
    options = {"epochs": 3, "learning_rate": 0.2, "momentum": 0.8, "batch_size": 300, "standardize": False}
    for schedule, same in ((lambda step: 0.5 + 0.5 * np.cos(np.pi * step / 3), True), (lambda step: 1.0, False)):
        weights, velocity = np.zeros((7, 4)), np.zeros((7, 4))
        for step in range(3):
            powers = np.exp(rows @ weights)
            velocity = 0.8 * velocity + rows.T @ (powers / powers.sum(1, keepdims=True) - np.eye(4)[TRAIN[1]]) / len(rows)
            weights = weights - 0.2 * schedule(step) * velocity
        expected = (np.pad(ROWS.astype(np.float64), ((0, 0), (0, 1)), constant_values=1) @ weights).argmax(1)
        assert (jv.evaluate.linear_probe_sgd(*TRAIN, ROWS, expected, **options)["top1"] > 0.9998) == same


def test_sgd_comes_close_to_the_optimum_and_is_deterministic():
    found = jv.evaluate.linear_probe_sgd(*TRAIN, *TEST, batch_size=64)
    assert found == jv.evaluate.linear_probe_sgd(*TRAIN, *TEST, batch_size=64)
    best = jv.evaluate.linear_probe(*TRAIN, *TEST, regularization=0.0)["top1"]
    assert found["top1"] == pytest.approx(best, abs=0.02) and best > 0.6
    assert jv.evaluate.linear_probe_sgd(*TRAIN, *TEST, epochs=1, batch_size=1000)["top1"] > 0.4
    many = clouds(80, classes=8)
    assert set(jv.evaluate.linear_probe_sgd(*many, *many, epochs=2)) == {"top1", "top5"}


@pytest.mark.slow
def test_a_probe_does_not_change_the_backbone():
    model = jv.create_model("lenet5", num_classes=0)
    train, test = jv.data.digits("train"), jv.data.digits("test")
    train, test = jv.data.subset(train, range(200)), jv.data.subset(test, range(100))
    variables = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)), method="features")
    before = jax.tree.map(np.array, variables)
    pairs = [*jv.evaluate.features(model, variables, train), *jv.evaluate.features(model, variables, test)]
    copies = [pair.copy() for pair in pairs]
    found = jv.evaluate.linear_probe(*pairs)
    assert found["top1"] > 0.5 and {"top1", "top5", "regularization"} == set(found)
    jv.evaluate.linear_probe_sgd(*pairs, epochs=2)
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.array, variables))
    for pair, copy in zip(pairs, copies, strict=True):
        np.testing.assert_array_equal(pair, copy)


@pytest.mark.parametrize(
    "change,named",
    [
        ({"regularization": -1.0}, "regularization"),
        ({"regularization": ()}, "regularization"),
        ({"validation": 1.0}, "validation"),
        ({"train_labels": np.zeros(300, int)}, "train_labels"),
        ({"train_features": TRAIN[0][:2], "train_labels": np.arange(2)}, "validation"),
    ],
)
def test_invalid_arguments_are_refused_by_name(change, named):
    arguments = dict(zip(("train_features", "train_labels", "test_features", "test_labels"), (*TRAIN, *TEST), strict=True))
    with pytest.raises(ValueError, match=named):
        jv.evaluate.linear_probe(**(arguments | change))
    with pytest.raises(ValueError, match="epochs"):
        jv.evaluate.linear_probe_sgd(*TRAIN, *TEST, epochs=0)

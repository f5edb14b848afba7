"""Linear probes: scikit-learn's optimum, the penalty chosen without the test rows, SGD, and a backbone that does not move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.data.source import stratified
from jaxvision.evaluate import _linear_probe
from tests.evaluate.test_knn import clouds
from tests.oracles import knn

TRAIN, TEST = clouds(300, spread=1.0), clouds(200, spread=1.0, seed=1)


@pytest.mark.parametrize("regularization", [1e-3, 0.01, 0.3])
def test_the_layer_is_scikit_learns_optimum(regularization):
    linear_model = pytest.importorskip("sklearn.linear_model")
    options = {"C": 1 / (300 * regularization), "tol": 1e-10, "max_iter": 10_000}
    reference = linear_model.LogisticRegression(**options).fit(TRAIN[0].astype(np.float64), TRAIN[1])
    *_, (_, layer) = _linear_probe._path(*TRAIN, [regularization], 4, 500)
    np.testing.assert_allclose(layer["kernel"], reference.coef_.T, atol=2e-3 * np.abs(reference.coef_).max())
    values = [
        knn.logistic_objective(kernel, bias, *TRAIN, regularization)
        for kernel, bias in ((np.asarray(layer["kernel"]), np.asarray(layer["bias"])), (reference.coef_.T, reference.intercept_))
    ]
    assert values[0] - values[1] < 1e-6
    found = jv.evaluate.linear_probe(*TRAIN, *TEST, regularization=regularization, standardize=False)
    assert found == {"top1": pytest.approx(reference.score(*TEST), abs=0.006), "regularization": regularization}


def test_the_penalty_is_chosen_on_held_out_training_rows_and_calls_repeat():
    """Many columns of noise: penalties matter. The test labels, whatever they say, choose nothing."""
    draw = np.random.default_rng(0)
    (train, labels), (test, answers) = clouds(300, spread=0.6), clouds(200, spread=0.6, seed=1)
    train, test = (np.concatenate([features, draw.standard_normal((len(features), 250))], 1) for features in (train, test))
    found = jv.evaluate.linear_probe(train, labels, test, answers, standardize=False)
    assert found == jv.evaluate.linear_probe(train, labels, test, answers, standardize=False)
    other = jv.evaluate.linear_probe(train, labels, test, (answers + 1) % 4, standardize=False)
    assert other["regularization"] == found["regularization"] and other["top1"] < found["top1"]
    held = stratified(labels, 0.2, seed=0)
    parts = (train[~held], labels[~held], train[held], labels[held])
    scores = {value: jv.evaluate.linear_probe(*parts, regularization=value, standardize=False)["top1"] for value in _linear_probe.SWEEP}
    assert scores[found["regularization"]] == max(scores.values()) > min(scores.values())


def test_units_and_constant_columns_do_not_matter():
    scale, shift = np.array([1e-3, 1, 10, 1e4, 1, 1], np.float32), np.array([5, 0, 0, 0, 0, 0], np.float32)
    changed = [np.concatenate([features * scale + shift, np.full((len(features), 1), 7)], 1) for features in (TRAIN[0], TEST[0])]
    plain = jv.evaluate.linear_probe(*TRAIN, *TEST)
    moved = jv.evaluate.linear_probe(changed[0], TRAIN[1], changed[1], TEST[1])
    assert moved["regularization"] == plain["regularization"] and moved["top1"] == pytest.approx(plain["top1"], abs=0.006)


@pytest.mark.parametrize("probe", [lambda *pairs: jv.evaluate.linear_probe(*pairs, regularization=0.1), jv.evaluate.linear_probe_sgd])
def test_the_training_rows_alone_say_what_is_standard(probe):
    """Other test features in other units are other features: nothing brings them back."""
    mean, deviation = TRAIN[0].astype(np.float64).mean(0), TRAIN[0].astype(np.float64).std(0)
    expected = [(features - mean) / deviation for features in (TRAIN[0], TEST[0])]
    for found, rows in zip(_linear_probe._standardized(TRAIN[0], TEST[0]), expected, strict=True):
        np.testing.assert_allclose(found, rows, atol=1e-5)
    moved = TEST[0] * np.float32(0.5) - np.array([9, -9, 9, -9, 9, -9], np.float32)
    assert probe(*TRAIN, moved, TEST[1])["top1"] < probe(*TRAIN, *TEST)["top1"] - 0.1


def test_the_rate_of_sgd_falls_in_a_cosine(monkeypatch):
    """Three steps over all rows, written out in float64; at a constant rate the layer is far from it."""
    monkeypatch.setattr(_linear_probe, "_figures", lambda layer, *pair: layer)
    found = jv.evaluate.linear_probe_sgd(*TRAIN, *TEST, epochs=3, learning_rate=0.2, momentum=0.8, batch_size=300, standardize=False)
    rows = np.pad(TRAIN[0].astype(np.float64), ((0, 0), (0, 1)), constant_values=1)  # [N, D + 1], the last for the bias
    weights, motion = np.zeros((7, 4)), np.zeros((7, 4))
    for step in range(3):
        powers = np.exp(rows @ weights)
        motion = 0.8 * motion + rows.T @ (powers / powers.sum(1, keepdims=True) - np.eye(4)[TRAIN[1]]) / len(rows)
        weights = weights - 0.2 * (0.5 + 0.5 * np.cos(np.pi * step / 3)) * motion
    np.testing.assert_allclose(np.concatenate([found["kernel"], found["bias"][None]]), weights, rtol=1e-4, atol=1e-5)


def test_sgd_comes_close_to_the_optimum_and_repeats():
    found = jv.evaluate.linear_probe_sgd(*TRAIN, *TEST, batch_size=64)
    assert found == jv.evaluate.linear_probe_sgd(*TRAIN, *TEST, batch_size=64)
    best = jv.evaluate.linear_probe(*TRAIN, *TEST, regularization=0.0)["top1"]
    assert found["top1"] == pytest.approx(best, abs=0.02) and best > 0.6
    assert jv.evaluate.linear_probe_sgd(*TRAIN, *TEST, epochs=1, batch_size=1000)["top1"] > 0.4
    many = clouds(80, classes=8)
    assert set(jv.evaluate.linear_probe_sgd(*many, *many, epochs=2)) == {"top1", "top5"}


def test_a_probe_leaves_the_backbone_as_it_is():
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
    "change,words",
    [
        ({"regularization": -1.0}, "regularization: found -1.0, expected a number of at least 0"),
        ({"regularization": ()}, "regularization: found"),
        ({"validation": 1.0}, "validation: found 1.0"),
        ({"train_labels": np.zeros(300, int)}, "train_labels: all 300 are 0, expected at least two classes"),
        ({"train_features": TRAIN[0][:2], "train_labels": np.arange(2)}, "validation: 0.2 of 2 training rows leaves one part empty"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(change, words):
    arguments = dict(zip(("train_features", "train_labels", "test_features", "test_labels"), (*TRAIN, *TEST), strict=True))
    with pytest.raises(ValueError, match=words):
        jv.evaluate.linear_probe(**(arguments | change))
    with pytest.raises(ValueError, match="epochs: found 0"):
        jv.evaluate.linear_probe_sgd(*TRAIN, *TEST, epochs=0)

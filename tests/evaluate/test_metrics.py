"""Metrics of a classifier: an example with known ranks, scikit-learn, ties, nan, long sums, and arguments that make no sense."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv


def scrambled(count: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.standard_normal((count, classes)).astype(np.float32), draw.integers(0, classes, count)


def test_five_images_of_seven_classes_with_known_ranks():
    """Ranks of the five true classes: 1st, 2nd, 4th, 5th and 6th, so one is found at the top and four among the first five."""
    labels, ranks = np.array([0, 3, 6, 2, 5]), (1, 2, 4, 5, 6)
    logits = np.empty((5, 7))
    for row, (label, rank) in enumerate(zip(labels, ranks, strict=True)):
        logits[row] = np.insert(np.delete(np.arange(7.0, 0.0, -1.0), rank - 1), label, 8.0 - rank)
    assert jv.evaluate.top_k(logits, labels) == pytest.approx(0.2)
    assert jv.evaluate.top_k(logits, labels, k=5) == pytest.approx(0.8)
    found = jv.evaluate.scores(logits, labels)
    assert list(found) == ["loss", "top1", "top5"] and found["top1"] == pytest.approx(0.2) and found["top5"] == pytest.approx(0.8)


@pytest.mark.parametrize("k", [1, 3, 9])
def test_top_k_is_scikit_learns(k):
    metrics = pytest.importorskip("sklearn.metrics")
    logits, labels = scrambled(200, 9)
    if k < 9:
        assert jv.evaluate.top_k(logits, labels, k=k) == pytest.approx(metrics.top_k_accuracy_score(labels, logits, k=k, labels=range(9)))
    else:
        assert jv.evaluate.top_k(logits, labels, k=k) == 1


def test_of_equal_logits_the_lower_class_comes_first():
    tied = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    assert [jv.evaluate.top_k(tied, np.array([label, label]), k=2) for label in range(3)] == [1, 1, 0]
    assert [jv.evaluate.top_k(tied, np.array([label, label])) for label in range(3)] == [1, 0, 0]
    logits = np.random.default_rng(1).integers(0, 3, (100, 6))  # many ties
    best = np.argsort(-logits, axis=1, kind="stable")[:, :2]
    labels = np.random.default_rng(2).integers(0, 6, 100)
    assert jv.evaluate.top_k(logits, labels, k=2) == pytest.approx((best == labels[:, None]).any(1).mean())


def test_a_row_whose_logit_is_nan_is_never_correct():
    assert jv.evaluate.top_k(np.full((4, 3), np.nan), np.array([0, 1, 2, 0])) == 0
    assert jv.evaluate.top_k(np.array([[np.nan, 1.0, 0.0]]), np.array([1]), k=2) == 1


def test_scores_of_few_classes_and_of_soft_labels():
    logits, labels = scrambled(40, 4)
    found = jv.evaluate.scores(logits, labels)
    log_softmax = logits - np.log(np.exp(logits.astype(np.float64)).sum(1, keepdims=True))
    assert list(found) == ["loss", "top1"] and all(type(value) is float for value in found.values())
    assert found["loss"] == pytest.approx(-log_softmax[np.arange(40), labels].mean(), rel=1e-6)
    soft = 0.8 * np.eye(4, dtype=np.float32)[labels] + 0.05
    softened = jv.evaluate.scores(logits, soft)
    assert softened["top1"] == found["top1"]
    assert softened["loss"] == pytest.approx(-(soft * log_softmax).sum(1).mean(), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_confusion_matrix_is_scikit_learns(dtype):
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(0)
    labels, predicted = draw.integers(0, 100, (2, 300)).astype(dtype)  # 99 x 100 does not fit in a uint8
    found = jv.evaluate.confusion_matrix(predicted, labels, 100)
    np.testing.assert_array_equal(found, metrics.confusion_matrix(labels, predicted, labels=range(100)))


def test_rows_of_the_confusion_matrix_are_the_truth():
    matrix = jv.evaluate.confusion_matrix([1, 1, 2, 0], [0, 1, 1, 0], 4)
    np.testing.assert_array_equal(matrix, [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(jv.evaluate.per_class_accuracy(matrix), [0.5, 0.5, np.nan, np.nan])


def streamed(metric: jv.evaluate.Metric, outputs, labels, *, batch_size: int) -> dict[str, float]:
    """A metric over whole arrays in padded batches, as a run computes it."""
    update, state = jax.jit(metric.update), metric.init()
    for first in range(0, len(labels), batch_size):
        rows = np.arange(first, first + batch_size)
        batch = {"label": labels[rows % len(labels)], "valid": rows < len(labels), "index": rows % len(labels)}
        state = update(state, outputs[rows % len(labels)], batch)
    return metric.compute(jax.device_get(state))


def logits_of(count: int, classes: int, *, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = scrambled(count, classes)
    return (np.round(logits) if ties else logits), labels.astype(np.int32)


@pytest.mark.parametrize("classes", [4, 9])
@pytest.mark.parametrize("batch_size", [7, 64])
def test_classification_in_batches_is_that_of_whole_arrays(classes, batch_size):
    logits, labels = logits_of(100, classes, ties=True)
    logits[5, labels[5]] = np.nan
    found, expected = streamed(jv.evaluate.classification, logits, labels, batch_size=batch_size), jv.evaluate.scores(logits, labels)
    assert list(found) == list(expected) and np.isnan(found.pop("loss")) and np.isnan(expected.pop("loss"))
    assert found == expected


def test_the_loss_of_fifty_thousand_examples_is_the_float64_mean():
    logits, labels = logits_of(50_000, 10)
    found = streamed(jv.evaluate.classification, logits, labels, batch_size=256)
    wide = logits.astype(np.float64)
    surprise = np.log(np.exp(wide).sum(1)) - wide[np.arange(len(labels)), labels]
    assert found["loss"] == pytest.approx(surprise.mean(), rel=1e-7)
    assert found["top1"] == jv.evaluate.top_k(logits, labels) and found["top5"] == jv.evaluate.top_k(logits, labels, k=5)


def test_soft_labels_count_as_their_largest_class():
    logits, labels = logits_of(40, 4)
    soft = 0.8 * np.eye(4, dtype=np.float32)[labels] + 0.05
    found = streamed(jv.evaluate.classification, logits, soft, batch_size=16)
    assert found == pytest.approx(jv.evaluate.scores(logits, soft), rel=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jv.evaluate.top_k(np.zeros(3), np.zeros(3, int)), r"logits, labels: "),
        (lambda: jv.evaluate.top_k(np.zeros((0, 3)), np.zeros(0, int)), "logits, labels: "),
        (lambda: jv.evaluate.top_k(np.zeros((1, 3)), np.array([-1])), "labels: .*-1"),
        (lambda: jv.evaluate.top_k(np.zeros((1, 3)), np.array([0]), k=4), "k: found 4"),
        (lambda: jv.evaluate.confusion_matrix([0, 3], [0, 1], 3), "predicted: .*3"),
        (lambda: jv.evaluate.confusion_matrix([0], [0, 1], 3), "predicted, labels: "),
        (lambda: jv.evaluate.per_class_accuracy(np.zeros(3)), r"confusion: .*\(3,\)"),
        (lambda: jv.evaluate.collect([]), "batches: found none"),
        (lambda: jv.evaluate.classification.update({}, {"boxes": jnp.zeros(3)}, {"label": jnp.zeros(3)}), "evaluate: .*dict"),
        (lambda: jv.evaluate.classification.update({}, jnp.zeros((3, 2)), {"mask": jnp.zeros(3)}), "evaluate: .*mask"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("label", [-1, 7])
def test_a_label_outside_the_classes_is_refused(label):
    logits, labels = logits_of(20, 7)
    with pytest.raises(ValueError, match="label: found 1 of 20"):
        streamed(jv.evaluate.classification, logits, np.where(np.arange(20) == 11, label, labels), batch_size=8)


def test_no_example_at_all_is_refused():
    with pytest.raises(ValueError, match="evaluate"):
        jv.evaluate.classification.compute(jv.evaluate.classification.init())

"""Figures of a classifier: the lecture's exercise, scikit-learn, ties, nan, and arguments that make no sense."""

import numpy as np
import pytest

import jaxvision as jv


def scrambled(count: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.standard_normal((count, classes)).astype(np.float32), draw.integers(0, classes, count)


def test_the_lectures_exercise_five_images_seven_classes():
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


def test_a_model_that_gives_nan_is_never_right():
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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jv.evaluate.top_k(np.zeros(3), np.zeros(3, int)), r"logits, labels: found shapes \(3,\)"),
        (lambda: jv.evaluate.top_k(np.zeros((0, 3)), np.zeros(0, int)), "N of at least 1"),
        (lambda: jv.evaluate.top_k(np.zeros((1, 3)), np.array([-1])), "labels: found classes -1 to -1, expected 0 to 2"),
        (lambda: jv.evaluate.top_k(np.zeros((1, 3)), np.array([0]), k=4), "k: found 4, expected 1 to 3"),
        (lambda: jv.evaluate.confusion_matrix([0, 3], [0, 1], 3), "predicted: found classes 0 to 3, expected 0 to 2"),
        (lambda: jv.evaluate.confusion_matrix([0], [0, 1], 3), r"expected \[N\] twice"),
    ],
)
def test_messages(call, message):
    with pytest.raises(ValueError, match=message):
        call()

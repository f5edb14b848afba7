"""Plots of runs: the files open, no text is cut off or overlaps, and order and numbers are right."""

import sys
from pathlib import Path

import numpy as np
import pytest

import jaxvision as jv
from tests.marks import slow
from tests.plots.reading import assert_apart, extents, picture

pytest.importorskip("matplotlib")
DRAW = np.random.default_rng(0)
LONG = "African hunting dog, hyena dog, Cape hunting dog"


def rows(splits: tuple[str, ...], epochs: int = 3) -> list[dict]:
    found = []
    for step in range(10, 100 * epochs + 1, 10):
        split = ("train", *splits) if step % 100 == 0 else ("train",)
        found += [{"step": step, "epoch": -(-step // 100), "split": name, "loss": 9 / step, "top1": step / 400} for name in split]
    return found


@pytest.mark.parametrize("epochs", [1, 3, 120])
def test_curves_of_loss_and_accuracy(tmp_path, figures, epochs):
    jv.plots.curves(rows(("train_epoch", "validation"), epochs), tmp_path / "new" / "curves.png")
    picture(tmp_path / "new" / "curves.png")
    loss, accuracy = figures[0].axes
    assert (loss.get_ylabel(), accuracy.get_ylabel(), loss.get_xlabel()) == ("loss", "top-1 accuracy (%)", "epoch")
    assert accuracy.get_legend_handles_labels()[1] == ["train", "validation"]
    steps, train, validation = accuracy.lines
    np.testing.assert_allclose(train.get_xydata(), [[epoch, 25 * epoch] for epoch in range(1, epochs + 1)])
    assert len(steps.get_xdata()) == 10 * epochs and steps.get_xdata()[-1] == epochs
    ticks = np.array([tick for tick in loss.get_xticks() if tick <= epochs])
    np.testing.assert_array_equal(ticks, ticks.round())
    assert_apart(extents(figures[0], [tick for tick in loss.get_xticklabels() if float(tick.get_text()) <= loss.get_xlim()[1]]))


def test_curves_of_any_metric_of_an_evaluation(tmp_path, figures):
    found = [{"step": 10, "epoch": 1, "split": "validation", "loss": 0.5, "rmse": 2.5, "top1": 0.5, "top5": 0.9, "eval_seconds": 3.0}]
    jv.plots.curves(rows(("train_epoch",)) + found, tmp_path / "curves.png")
    assert [axis.get_ylabel() for axis in figures[0].axes if axis.axison] == ["loss", "top-1 accuracy (%)", "rmse"]
    (rmse,) = figures[0].axes[2].lines
    np.testing.assert_allclose(rmse.get_xydata(), [[1, 2.5]])


def test_comparison_of_runs(tmp_path, figures):
    one, other = rows(("train_epoch", "validation"), 5), rows(("train_epoch", "test"), 3)
    jv.plots.comparison({"plain20": one, "resnet20": other}, tmp_path / "errors.png")
    picture(tmp_path / "errors.png")
    for axis, split in zip(figures[0].axes, ("train_epoch", "validation"), strict=True):
        assert [text.get_text() for text in axis.get_legend().get_texts()] == ["plain20", "resnet20"]
        shown = axis.get_lines()[0].get_ydata()
        np.testing.assert_allclose(shown, [100 * (1 - row["top1"]) for row in one if row["split"] == split])


def test_curves_leave_out_missing_values(tmp_path, figures):
    lossy = [{**row, "top1": None, "loss": "nan" if row["step"] == 200 else row["loss"]} for row in rows(("train_epoch",))]
    jv.plots.curves([*lossy, {"step": 300, "epoch": 3, "split": "test", "loss": 0.1}], tmp_path / "curves.png")
    (loss,) = figures[0].axes
    assert [len(line.get_xdata()) for line in loss.lines] == [29, 2, 1]  # steps, epochs, the single test value
    jv.plots.curves([], tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size


@pytest.mark.parametrize("count", [2, 10, 37, slow(100), slow(250)])
def test_confusion_is_readable_at_any_size(tmp_path, figures, count):
    matrix = np.diag(DRAW.integers(1, 12000, count))
    matrix[0, 1] = 7
    jv.plots.confusion(matrix, [f"{index} {LONG}" for index in range(count)], tmp_path / "confusion.png")
    assert max(picture(tmp_path / "confusion.png").shape) < 2000
    axis = figures[0].axes[0]
    assert len(axis.texts) == (count + 1 if count <= 20 else 0)
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted", "true")
    assert f"{np.trace(matrix) / matrix.sum():.2%}" in axis.get_title()
    for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
        assert len(labels) == (count if count <= 100 else 84)
        assert_apart(extents(figures[0], labels))
    if axis.texts:
        assert_apart(extents(figures[0], axis.texts))


def test_rows_of_the_confusion_matrix_are_true_classes(tmp_path, figures):
    jv.plots.confusion(np.array([[3, 1], [0, 0]]), ["cat", "dog"], tmp_path / "confusion.png")
    np.testing.assert_allclose(figures[0].axes[0].images[0].get_array(), [[0.75, 0.25], [0, 0]])
    with pytest.raises(ValueError, match="matrix"):
        jv.plots.confusion(np.eye(2), ["a", "b", "c"], tmp_path / "confusion.png")


PROBABILITIES = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.05, 0.05, 0.9], [0.4, 0.3, 0.3], [0.1, 0.8, 0.1]])
LABELS = np.array([0, 0, 0, 0, 1])  # right, wrong, wrong and confident, right and not confident, right


def test_worst_first():
    assert list(jv.plots.worst_first(LABELS, PROBABILITIES)) == [2, 1, 3, 0, 4]


def test_predictions_show_the_most_confident_mistake_first(tmp_path, figures):
    images = [np.full((4, 4, 3), 50 * index, np.uint8) for index in range(5)]
    jv.plots.predictions(images, LABELS, PROBABILITIES, ["cat", "dog", "emu"], tmp_path / "predictions.png")
    picture(tmp_path / "predictions.png")
    titles = [axis.get_title() for axis in figures[0].axes]
    assert titles == ["emu 90%\ntrue: cat 5%", "dog 70%\ntrue: cat 20%", "cat 40%", "cat 60%", "dog 80%"]
    assert [int(axis.images[0].get_array()[0, 0, 0]) for axis in figures[0].axes] == [100, 50, 150, 0, 200]
    assert len({axis.title.get_color() for axis in figures[0].axes[:2]}) == 1
    assert figures[0].axes[1].title.get_color() != figures[0].axes[2].title.get_color()
    assert figures[0].get_suptitle().startswith("2 of 5 wrong")


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (3, 3), (24, 1), (13, 3)])
def test_names_in_the_grid_do_not_overlap(tmp_path, figures, count, channels):
    images = [DRAW.random((6, 9, channels)).astype(np.float32) for _ in range(count)]
    labels, probabilities = DRAW.integers(0, 3, count), DRAW.dirichlet(np.ones(3), count)
    jv.plots.predictions(images, labels, probabilities, [LONG, "W" * 40, "cat"], tmp_path / "predictions.png")
    picture(tmp_path / "predictions.png")
    assert_apart(extents(figures[0], [figures[0]._suptitle, *(axis.title for axis in figures[0].axes)]))


def test_predictions_refuse_arrays_that_do_not_match(tmp_path):
    for images, classes in (([], "abc"), ([np.zeros((2, 2, 1))] * 4, "abc"), ([np.zeros((2, 2, 1))] * 5, "ab")):
        with pytest.raises(ValueError, match="images, labels, probabilities"):
            jv.plots.predictions(images, LABELS, PROBABILITIES, list(classes), tmp_path / "no.png")


@pytest.mark.parametrize("count", [1, 4, 9])
def test_augmentations_are_drawn_after_the_original(tmp_path, figures, count):
    original = DRAW.integers(0, 256, (8, 9, 3), np.uint8)
    pictures = {f"{index} {LONG[: 7 * index]}": DRAW.normal(0.5, 1.0, (6, 6, 1 + 2 * (index % 2))) for index in range(count)}
    jv.plots.augmentations(original, pictures, tmp_path / "augmentations.png")
    picture(tmp_path / "augmentations.png")
    shown = [axis for axis in figures[0].axes if axis.images]
    assert len(shown) == count + 1 and len(figures[0].axes) == 5 * (1 + count // 5)
    assert [axis.get_title()[:1] for axis in shown] == ["o", *map(str, range(count))]
    np.testing.assert_array_equal(shown[0].images[0].get_array(), original)
    for axis, expected in zip(shown[1:], pictures.values(), strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), np.clip(expected, 0, 1).squeeze())
    assert_apart(extents(figures[0], [axis.title for axis in shown]))


def test_augmentations_refuse_an_array_that_is_not_an_image(tmp_path):
    with pytest.raises(ValueError, match="blur"):
        jv.plots.augmentations(np.zeros((4, 4, 3)), {"blur": np.zeros((4, 4))}, tmp_path / "no.png")


@pytest.mark.slow
def test_the_figure_in_the_docs_is_drawn_from_any_photograph(tmp_path):
    from benchmarks import draw_augmentations

    draw_augmentations.draw(DRAW.integers(0, 256, (190, 230, 3), np.uint8), tmp_path / "new" / "figure.png")
    drawn = picture(tmp_path / "new" / "figure.png")
    committed = Path(__file__).parents[2] / "docs" / "images" / "augmentations.png"
    assert picture(committed).shape == drawn.shape and committed.stat().st_size < 150_000


@pytest.mark.parametrize("shape", [(5, 5, 1, 6), (7, 7, 3, 64), (3, 3, 2, 130)], ids=str)
def test_filters_before_and_after(tmp_path, figures, shape):
    kernel = DRAW.standard_normal(shape)
    jv.plots.filters(kernel, tmp_path / "filters.png", before=np.zeros(shape))
    picture(tmp_path / "filters.png")
    before, after = figures[0].axes
    assert (before.get_title(), after.get_title()) == ("first filters, before training", "first filters, after")
    tiles = np.asarray(after.images[0].get_array())
    shown = kernel[..., 0] if shape[2] == 3 else kernel[..., 0].mean(-1, keepdims=True)
    first = np.broadcast_to((shown - shown.min()) / np.ptp(shown), (*shape[:2], 3))
    np.testing.assert_allclose(tiles[1 : 1 + shape[0], 1 : 1 + shape[1]], first, atol=1e-6)


def test_filters_refuse_other_shapes(tmp_path):
    for kernel, before in ((np.zeros((3, 3, 4)), None), (np.zeros((3, 3, 1, 4)), np.zeros((3, 3, 1, 5)))):
        with pytest.raises(ValueError, match="kernel"):
            jv.plots.filters(kernel, tmp_path / "no.png", before=before)


def test_without_matplotlib_the_error_names_the_package_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match="pip install matplotlib"):
        jv.plots.curves([], tmp_path / "curves.png")

"""Rendered digits and shapes: pure functions of (seed, i), where they say they are, and different enough to distinguish."""

from pathlib import Path

import numpy as np
import pytest

from jaxvision import data
from jaxvision.data import rendered_digits, shapes

pytest.importorskip("PIL", reason="Pillow is not installed: rendered pictures are NOT checked here")


@pytest.mark.parametrize(("make", "shape", "count"), [(rendered_digits, (32, 32, 1), 10), (shapes, (64, 64, 3), 6)])
def test_pictures_are_pure_functions_with_balanced_labels(make, shape, count):
    source = make(50, seed=3)
    example = source[17]
    assert example["image"].shape == shape and example["image"].dtype == np.uint8
    assert source.labels.tolist() == [i % count for i in range(50)] == [example["label"] for example in source]
    assert len(source.classes) == count and source[-1]["label"] == source[49]["label"]
    for again in (make(18, seed=3)[17], next(data.batches(data.subset(source, [17]), 1, threads=2))):
        np.testing.assert_array_equal(again["image"].reshape(shape), example["image"])
    others = [make(50, seed=4)[17], source[17 + count]]
    assert all((other["image"] != example["image"]).any() for other in others)
    assert make(3, size=20)[0]["image"].shape[:2] == (20, 20)
    with pytest.raises(IndexError):
        source[50]


def test_digits_are_bright_on_dark_and_whole():
    source = rendered_digits(200)
    for i in range(200):
        image = source[i]["image"][..., 0].astype(int)
        ground = np.median(image)
        assert image.max() - ground >= 50
        ink = np.argwhere(image > ground + 25)
        assert 0.45 * 32 <= np.ptp(ink, axis=0).max() + 1 <= 0.95 * 32
    places = np.array([np.argwhere(source[i]["image"][..., 0] > 128).mean(0) for i in range(200)])
    assert (np.ptp(places, axis=0) > 8).all()  # they move about


def test_digits_can_be_learned():
    neighbors = pytest.importorskip("sklearn.neighbors", reason="scikit-learn is not installed: that digits can be learned is NOT checked")
    train, test = rendered_digits(1000), rendered_digits(300, seed=1)

    def cut_out(source):  # the ink, stretched to one size: place and size are no part of a digit
        pictures = []
        for example in source:
            image = example["image"][..., 0].astype(float)
            image -= np.median(image)
            ink = np.argwhere(image > 0.4 * image.max())
            (top, left), (bottom, right) = ink.min(0), ink.max(0) + 1
            rows, columns = (np.linspace(*ends, 12, endpoint=False).astype(int) for ends in ((top, bottom), (left, right)))
            pictures.append((image[rows[:, None], columns] / image.max()).ravel())
        return np.array(pictures)

    score = neighbors.KNeighborsClassifier(3).fit(cut_out(train), train.labels).score(cut_out(test), test.labels)
    assert score > 0.9


def test_shapes_are_where_their_boxes_and_masks_are():
    source = shapes(300)
    covered = []
    for i in range(300):
        example = source[i]
        image, mask, box = example["image"].astype(int), example["mask"], example["boxes"][0]
        assert set(np.unique(mask)) == {0, example["label"] + 1} and example["box_label"].tolist() == [example["label"]]
        assert (box[:2] >= 0).all() and (box[2:] <= 64).all()
        ground = image[[0, 0, -1, -1], [0, -1, 0, -1]]
        inside = abs(image - np.median(ground, 0)).max(-1) > 0
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        drawn = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert (abs(drawn - box) < 1.3).all()  # every touched pixel, so up to one more on each side
        assert (inside | (mask == 0)).all()
        if example["label"] == 0:
            covered.append((mask > 0).sum() / (np.pi * ((box[2] - box[0]) / 2) ** 2))  # the circle
    assert abs(np.mean(covered) - 1) < 0.01


def test_shapes_can_be_learned_from_their_pixels_alone():
    def profile(example) -> np.ndarray:
        """How much of the shape lies in each ring around its centre: unchanged by place, size, tilt and colours."""
        image = example["image"].astype(float)
        coverage = abs(image - np.median(image[[0, 0, -1, -1], [0, -1, 0, -1]], 0)).sum(-1)
        points = np.argwhere(coverage > coverage.max() / 2)
        radius = np.linalg.norm(points - points.mean(0), axis=1)
        return np.histogram(radius / np.sqrt(len(points)), bins=8, range=(0, 1.2))[0] / len(points)

    train, test = shapes(300), shapes(300, seed=1)
    profiles = np.stack([profile(example) for example in train])
    means = np.stack([profiles[train.labels == label].mean(0) for label in range(6)])
    guesses = [np.square(profile(example) - means).sum(1).argmin() for example in test]
    assert np.mean(guesses == test.labels) > 0.8


def test_wrong_fonts_and_sizes_are_refused(tmp_path):
    (tmp_path / "a.ttf").write_text("no font")
    cases = [
        (lambda: rendered_digits(3, fonts=[tmp_path / "b.ttf"]), FileNotFoundError, r"^fonts: .*b\.ttf"),
        (lambda: rendered_digits(3, fonts=[tmp_path / "a.ttf"]), ValueError, r"^fonts: .*a\.ttf"),
        (lambda: rendered_digits(3, fonts=[]), ValueError, "^fonts"),
        (lambda: rendered_digits(0), ValueError, "^count"),
        (lambda: shapes(3, size=4), ValueError, "^size"),
    ]
    for call, kind, message in cases:
        with pytest.raises(kind, match=message) as error:
            call()
        assert "\n" not in str(error.value)


def test_own_fonts_are_used():
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed: there is no font file to try")
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    sans, serif = (rendered_digits(10, fonts=[folder / name]) for name in ("DejaVuSans.ttf", "DejaVuSerif.ttf"))
    assert any((sans[i]["image"] != serif[i]["image"]).any() for i in range(10))

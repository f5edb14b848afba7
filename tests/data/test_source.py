"""In-memory sources, digits, synthetic images, parts of a source, and the checks before a run."""

import zlib

import numpy as np
import pytest

from jaxvision import data

CRC_OF_TEST_LABELS = 2850860929


def gray(count: int = 6, **options):
    return data.arrays(np.arange(count * 4, dtype=np.uint8).reshape(count, 2, 2), np.arange(count) % 3, **options)


def test_arrays_get_a_channel_classes_and_integer_labels():
    source = gray()
    assert len(source) == 6 and source.classes == ["0", "1", "2"] and source.labels.dtype == np.int64
    assert source[4]["image"].shape == (2, 2, 1) and source[4]["label"] == 1 and type(source[4]["label"]) is int
    taken = source.take(np.array([4, 0]))
    np.testing.assert_array_equal(taken["image"], np.stack([source[4]["image"], source[0]["image"]]))
    assert taken["label"].tolist() == [1, 0]
    assert gray(classes=("a", "b", "c")).classes == ["a", "b", "c"]
    assert len([example for example in source]) == 6


def test_arrays_take_column_labels_and_vectors():
    images = np.zeros((3, 2, 2, 3), np.float64)
    assert data.arrays(images, [[1], [0], [2]]).labels.tolist() == [1, 0, 2]
    several = data.arrays(images, np.array([[1, 0], [1, 1], [0, 0]], np.uint8))
    assert several.labels.dtype == np.float32 and several[1]["label"].tolist() == [1, 1] and several.classes == ["0", "1"]
    assert several[0]["image"].dtype == np.float32


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 2), np.uint8), [0] * 3, "^images"),
        (np.zeros((3, 3, 8, 8), np.uint8), [0] * 3, "^images"),
        (np.zeros((3, 2, 2), np.int64), [0] * 3, "^images.*int64"),
        (np.full((3, 2, 2), 255.0), [0] * 3, "^images.*255"),
        (np.full((3, 2, 2), np.nan), [0] * 3, "^images.*nan"),
        (np.zeros((3, 2, 2), np.uint8), [0.5] * 3, "^labels"),
        (np.zeros((3, 2, 2), np.uint8), ["cat"] * 3, "^labels"),
        (np.zeros((3, 2, 2), np.uint8), [0] * 2, "^images, labels.*3.*2"),
    ],
)
def test_arrays_refuse_other_shapes_and_types(images, labels, message):
    with pytest.raises((ValueError, TypeError), match=message) as error:
        data.arrays(images, labels)
    assert "\n" not in str(error.value)


def test_subset_keeps_order_and_refuses_wrong_indices():
    source = data.subset(gray(), [5, 1, 1])
    assert len(source) == 3 and source.labels.tolist() == [2, 1, 1] and source[0]["image"][0, 0, 0] == 20
    assert source.take(np.array([2, 0]))["label"].tolist() == [1, 2]
    assert data.subset(source, [1])[0]["label"] == 1
    assert not hasattr(data.subset(data.synthetic(3), [0]), "take")
    with pytest.raises(IndexError, match="^indices"):
        data.subset(gray(), [0, 6])


@pytest.mark.parametrize(("fraction", "seed"), [(0.1, 0), (0.25, 1), (0.5, 2), (0.9, 3)])
def test_split_is_stratified_disjoint_and_complete(fraction, seed):
    labels = np.repeat(np.arange(5), [3, 17, 40, 100, 41])
    source = data.arrays(np.arange(201, dtype=np.uint8)[:, None, None], np.random.default_rng(seed).permutation(labels))
    rest, held_out = data.split(source, fraction, seed=seed)
    assert sorted([*rest.indices, *held_out.indices]) == list(range(201))
    assert len(held_out) == int(201 * fraction + 0.5)
    counts = np.bincount(held_out.labels, minlength=5)
    assert (abs(counts - np.bincount(labels) * fraction) <= 1).all()
    again = data.split(source, fraction, seed=seed)[1]
    np.testing.assert_array_equal(again.indices, held_out.indices)
    assert set(data.split(source, fraction, seed=seed + 1)[1].indices) != set(held_out.indices)


def test_split_of_label_vectors_and_its_errors():
    several = data.arrays(np.zeros((8, 1, 1), np.uint8), np.array([[0, 1], [1, 1]] * 4))
    assert data.split(several, 0.5)[0].labels.sum(0).tolist() == [2, 4]
    with pytest.raises(ValueError, match="^fraction"):
        data.split(several, 1.5)
    with pytest.raises(ValueError, match="^fraction"):
        data.split(several, 0.01)


def test_digits_are_all_there_once_with_a_fixed_stratified_split():
    table = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed").load_digits()
    train, test = data.digits("train", size=8), data.digits("test", size=8)
    assert (len(train), len(test)) == (1438, 359) and train.classes == [str(digit) for digit in range(10)]
    assert abs(np.bincount(test.labels) - np.bincount(table.target) * 0.2).max() < 1
    ours = np.concatenate([train.images, test.images])[..., 0].astype(int)
    theirs = np.rint(table.images * 255 / 16).astype(int)
    assert sorted(map(bytes, ours.astype(np.uint8))) == sorted(map(bytes, theirs.astype(np.uint8)))
    assert zlib.crc32(test.labels.astype("<i8").tobytes()) == CRC_OF_TEST_LABELS  # the split is the same for ever
    assert data.digits("test")[0]["image"].shape == (32, 32, 1)
    with pytest.raises(ValueError, match="^split"):
        data.digits("val")


def test_synthetic_images_are_a_pure_function_and_can_be_learned():
    source, other = data.synthetic(60), data.synthetic(60, seed=1)
    assert source[7]["image"].shape == (32, 32, 3) and source[7]["image"].dtype == np.uint8 and source[7]["label"] == 7
    np.testing.assert_array_equal(source[17]["image"], data.synthetic(20)[17]["image"])
    assert not np.array_equal(source[17]["image"], other[17]["image"])
    assert data.synthetic(3, image_shape=(4, 4, 1), seed=1)[0]["image"][..., 0].tolist() == [
        [40, 136, 50, 201], [85, 156, 196, 86], [50, 151, 203, 144], [115, 51, 147, 188]
    ]  # fmt: skip
    means = np.stack([np.mean([source[i]["image"] for i in range(60) if i % 10 == label], 0) for label in range(10)])
    guess = [int(np.square(other[i]["image"] - means).sum((1, 2, 3)).argmin()) for i in range(60)]
    assert guess == other.labels.tolist()  # nearest class mean, on the images of another seed
    assert [example["label"] for example in data.synthetic(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="^count"):
        data.synthetic(0)


def test_check_names_the_source_and_the_labels_in_one_line():
    images = np.zeros((4, 1, 1), np.uint8)
    cases = [
        (data.subset(gray(), []), {}, "^train: "),
        (data.arrays(images, [0, 1, 7, -1]), {"num_classes": 3}, r"^train: 2 of 4.*-1, 7.*index 2.*0\.\.2"),
        (data.arrays(images, [0, -1, 0, 1]), {"at_least_two_classes": True}, "^train: .*-1.*index 1"),
        (data.arrays(images, [1] * 4, classes=["cat", "dog"]), {"at_least_two_classes": True}, "^train: .*dog"),
        (data.arrays(images, np.zeros((4, 3), int)), {"num_classes": 5}, "^train: .*3.*5"),
        (data.arrays(images, np.full((4, 3), 2)), {"num_classes": 3}, "^train: .*4 of 4"),
        (data.synthetic(4), {"num_classes": 3}, "^train: 1 of 4"),
        (data.subset(data.synthetic(40), [3, 13]), {"at_least_two_classes": True}, "^train: .*3"),
        (data.synthetic(4, num_classes=1), {"at_least_two_classes": True}, "^train: .*0"),
    ]
    for source, options, message in cases:
        with pytest.raises(ValueError, match=message) as error:
            data.check(source, **options)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="^validation: "):
        data.check(data.subset(gray(), []), name="validation")


def test_check_passes_sound_sources_and_reads_no_labels_that_fit_by_construction():
    data.check(gray(), num_classes=3, at_least_two_classes=True)
    data.check(gray(), num_classes=1000)
    data.check(data.arrays(np.zeros((2, 1, 1), np.uint8), np.eye(2)), num_classes=2, at_least_two_classes=True)

    class Huge:
        classes, labels_fit_classes = ["a", "b"], True

        def __len__(self):
            return 10**9

    data.check(Huge(), num_classes=2, at_least_two_classes=True)

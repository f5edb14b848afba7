"""Data sets that tensorflow-datasets prepares here, without TensorFlow, and jaxvision reads back; TFRecord too where TensorFlow is."""

import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from jaxvision import data
from jaxvision.data import BrokenImage
from jaxvision.data.decoding import decode
from tests.data.errors import one_line

library = pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets is not installed: tfds is NOT checked here")
Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: tfds is NOT checked here")
ROOT = Path(__file__).parents[2]


def kinds() -> list[bytes]:
    """Files of several kinds: RGB, CMYK, transparent, turned, large, and one that is cut off."""
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures = [
        (Image.fromarray(random.integers(0, 256, (20, 30, 3), np.uint8)), {"format": "PNG"}),
        (Image.fromarray(random.integers(0, 256, (20, 30, 4), np.uint8), "CMYK"), {"format": "JPEG"}),
        (Image.fromarray(random.integers(0, 256, (20, 30, 4), np.uint8)), {"format": "PNG"}),
        (Image.fromarray(random.integers(0, 256, (20, 30, 3), np.uint8)), {"format": "JPEG", "exif": exif}),
        (Image.linear_gradient("L").resize((600, 400)).convert("RGB"), {"format": "JPEG"}),
    ]
    files = []
    for picture, options in pictures:
        file = io.BytesIO()
        picture.save(file, **options)
        files.append(file.getvalue())
    return [*files, files[0][:200]]


class EmbeddedDigits(library.core.GeneratorBasedBuilder):
    """The digits that ship with scikit-learn."""

    VERSION = library.core.Version("1.0.0")

    def _info(self):
        label = library.features.ClassLabel(names=[str(digit) for digit in range(10)])
        features = {"image": library.features.Image(shape=(8, 8, 1)), "label": label, "place": np.int32}
        return library.core.DatasetInfo(builder=self, features=library.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split):
        for place, example in enumerate(data.digits(split, size=8)):
            file = io.BytesIO()
            Image.fromarray(example["image"][..., 0]).save(file, "PNG")  # the library would need TensorFlow to do so
            yield place, {"image": io.BytesIO(file.getvalue()), "label": example["label"], "place": place}


class OddFiles(library.core.GeneratorBasedBuilder):
    """Files of several kinds, kept as they are."""

    VERSION = library.core.Version("1.0.0")

    def _info(self):
        features = {"image": library.features.Image(), "label": library.features.ClassLabel(num_classes=6), "name": library.features.Text()}
        return library.core.DatasetInfo(builder=self, features=library.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number, content in enumerate(kinds()):
            yield number, {"image": io.BytesIO(content), "label": number, "name": f"file {number}"}


def prepare(folder, file_format: str = "array_record") -> None:
    """Both data sets in a folder."""
    for builder in (EmbeddedDigits, OddFiles):
        builder(data_dir=folder).download_and_prepare(file_format=file_format)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which both data sets are prepared, without TensorFlow."""
    folder = tmp_path_factory.mktemp("tfds")
    prepare(folder)
    return folder


def test_our_own_digits_come_back_pixel_for_pixel(folder):
    for split, count in (("train", 1438), ("test", 359)):
        source, ours = data.tfds("embedded_digits", split, data_dir=folder), data.digits(split, size=8)
        assert len(source) == count and source.classes == ours.classes
        places = np.array([source.examples[i]["place"] for i in range(count)])
        assert sorted(places) == list(range(count))
        np.testing.assert_array_equal(source.labels, ours.labels[places])
        np.testing.assert_array_equal(np.stack([source[i]["image"] for i in range(count)]), ours.images[places])
    assert type(source[0]["label"]) is int and len(list(data.subset(source, [3, 5]))) == 2
    batch = next(data.batches(source, 50, threads=3))
    np.testing.assert_array_equal(batch["image"], ours.images[batch["place"]])
    assert len(data.tfds("embedded_digits", "train[:50%]", data_dir=folder)) == 719


def test_images_are_decoded_as_those_of_files_are(folder):
    source = data.tfds("odd_files", "train", data_dir=folder)
    for i, label in enumerate(source.labels):
        if label == 5:
            one_line(lambda: source[i], BrokenImage, f"odd_files/train[{i}]")  # noqa: B023
        else:
            example = source[i]
            np.testing.assert_array_equal(example["image"], decode(kinds()[label], "itself"))
            assert example["name"].decode() == f"file {label}"
    turned, large = (int(np.flatnonzero(source.labels == label)[0]) for label in (3, 4))
    assert source[turned]["image"].shape == (30, 20, 3)
    view = source.view(large, lambda height, width: ((0, 0, height, width), (height // 4, width // 4)))
    whole = source[large]["image"].astype(float).reshape(100, 4, 150, 4, 3).mean((1, 3))
    assert view["image"].shape == (100, 150, 3) and view["label"] == 4 and abs(view["image"] - whole).max() < 6


def test_missing_data_sets_and_splits_are_one_line(folder, tmp_path):
    one_line(lambda: data.tfds("odd_files", "test", data_dir=folder), ValueError, "split")
    one_line(lambda: data.tfds("odd_files", "train[:0]", data_dir=folder), ValueError, "split")
    one_line(lambda: data.tfds("cifar10", "train", data_dir=tmp_path), FileNotFoundError, "tfds build cifar10")
    one_line(lambda: data.tfds("cifar_ten", "train", data_dir=tmp_path), FileNotFoundError, "cifar_ten")


@pytest.fixture
def as_records(folder, tmp_path):
    """A folder whose description says that its files are TFRecord files."""
    inside = tmp_path / "odd_files" / "1.0.0"
    inside.mkdir(parents=True)
    for path in (folder / "odd_files" / "1.0.0").iterdir():
        (inside / path.name.replace("array_record", "tfrecord")).write_bytes(path.read_bytes())
    described = json.loads((inside / "dataset_info.json").read_text())
    (inside / "dataset_info.json").write_text(json.dumps(described | {"fileFormat": "tfrecord"}))
    return tmp_path


def test_other_formats_need_tensorflow_or_a_conversion(as_records, monkeypatch):
    """Whether or not TensorFlow is installed: what the reader itself imports is replaced."""
    plain, tensorflow = importlib.import_module, ModuleType("tensorflow")
    tensorflow.config = SimpleNamespace(set_visible_devices=lambda devices, kind: None)
    installed = {}

    def import_module(name, *package):
        if name == "tensorflow" and not installed:
            raise ModuleNotFoundError(name, name=name)
        return installed.get(name) or plain(name, *package)

    monkeypatch.setattr(importlib, "import_module", import_module)
    names = ("pip install tensorflow-cpu", "tfds convert_format --dataset_version_dir=")
    one_line(lambda: data.tfds("odd_files", "train", data_dir=as_records), ModuleNotFoundError, *names)
    installed["tensorflow"] = tensorflow
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=0))
    one_line(lambda: data.tfds("odd_files", "train", data_dir=as_records), ValueError, "0.0 GiB", "convert_format")


def test_a_set_that_was_converted_as_well_needs_no_tensorflow(folder, as_records):
    inside = as_records / "odd_files" / "1.0.0"
    described = json.loads((inside / "dataset_info.json").read_text())
    (inside / "dataset_info.json").write_text(json.dumps(described | {"alternativeFileFormats": ["array_record"]}))
    for path in (folder / "odd_files" / "1.0.0").glob("*array_record*"):
        (inside / path.name).write_bytes(path.read_bytes())
    source = data.tfds("odd_files", "train", data_dir=as_records)
    assert source.labels.tolist() == data.tfds("odd_files", "train", data_dir=folder).labels.tolist()


_READ_WITH_TENSORFLOW = """
import sys
import numpy as np
from jaxvision import data
from tests.data.test_tfds import prepare
folder, records = sys.argv[1:]
prepare(records, "tfrecord")
import tensorflow
for name, split in (("embedded_digits", "train"), ("embedded_digits", "test[:10%]"), ("odd_files", "train")):
    ours, theirs = data.tfds(name, split, data_dir=folder), data.tfds(name, split, data_dir=records)
    assert len(ours) == len(theirs) and ours.classes == theirs.classes and type(theirs.examples) is list
    assert ours.labels.tolist() == theirs.labels.tolist()
    for i in range(len(ours)):
        assert ours.examples[i]["image"] == theirs.examples[i]["image"]
assert [device.device_type for device in tensorflow.config.get_visible_devices()] == ["CPU"]
print("the same")
"""


def test_tfrecord_files_are_the_same_source_where_tensorflow_is_installed(folder, tmp_path):
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed: that TFRecord files can be read is NOT checked here")
    command = [sys.executable, "-c", _READ_WITH_TENSORFLOW, str(folder), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip().endswith("the same"), done.stderr

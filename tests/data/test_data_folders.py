"""Image folders, host-side crops, prepared tensorflow-datasets, and the description of a folder."""

import io
import pickle
import sys

import numpy as np
import pytest

from jaxvision import data
from jaxvision.data.cropping import rectangle
from jaxvision.data.sequence import uniforms

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: image files are NOT checked here")
RANDOM = np.random.default_rng(0)


def one_line(call, kind, message):
    with pytest.raises(kind, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def save(path, height=6, width=4, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RANDOM.integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


@pytest.fixture
def pets(tmp_path):
    """(folder, pixels of cat/a.png) of two classes, five files, and clutter."""
    pixels = save(tmp_path / "cat" / "a.png")
    save(tmp_path / "cat" / "deep" / "b.JPG", 8, 8)
    save(tmp_path / "cat" / ".hidden.png")
    save(tmp_path / ".cache" / "x.png")
    for name in ("c.webp", "d.bmp"):
        save(tmp_path / "dog" / name)
    Image.fromarray(np.array([[0, 200]], np.uint8)).save(tmp_path / "dog" / "gray.png")
    (tmp_path / "dog" / "notes.txt").write_text("not an image")
    return tmp_path, pixels


def test_image_folder(pets):
    folder, pixels = pets
    source = data.image_folder(folder)
    assert source.classes == ["cat", "dog"] and source.labels.tolist() == [0, 0, 1, 1, 1] and source.labels.dtype == np.int64
    np.testing.assert_array_equal(source[0]["image"], pixels)
    assert source[1]["image"].shape == (8, 8, 3) and source[4]["image"].tolist() == [[[0] * 3, [200] * 3]] and source[4]["label"] == 1
    assert len(list(source)) == 5
    assert data.image_folder(folder, classes=["dog"]).labels.tolist() == [0, 0, 0]
    assert len(pickle.loads(pickle.dumps(source))) == 5


@pytest.mark.parametrize(("orientation", "quarter_turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_exif_orientation_is_applied(tmp_path, orientation, quarter_turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = save(tmp_path / "a" / "photo.png", exif=exif)
    np.testing.assert_array_equal(data.image_folder(tmp_path)[0]["image"], np.rot90(pixels, quarter_turns))


def test_a_broken_file_is_named_where_it_is_read(pets):
    folder, _ = pets
    whole = (folder / "cat" / "a.png").read_bytes()
    for content, reason in ((whole[:60], "."), (b"", "the file is empty"), (b"hello", "no image that Pillow can read")):
        (folder / "cat" / "a.png").write_bytes(content)
        source = data.image_folder(folder)  # decodes nothing
        one_line(lambda source=source: source[0], data.BrokenImage, rf"cat/a\.png: .*{reason}")
    (folder / "cat" / "a.png").unlink()
    one_line(lambda: source[0], data.BrokenImage, r"a\.png: the file is gone")


def test_folders_that_are_no_image_folders(pets):
    folder, _ = pets
    message = "none does not exist .* holds cat/, dog/\\), expected a folder with"
    one_line(lambda: data.image_folder(folder / "none"), FileNotFoundError, message)
    one_line(lambda: data.image_folder(folder, classes=["cat", "bird"]), FileNotFoundError, "no sub-folder bird, it holds cat/, dog/")
    one_line(lambda: data.image_folder(folder / "dog"), FileNotFoundError, r"has no sub-folders, only c\.webp")
    one_line(lambda: data.image_folder(folder / "photos.zip"), ValueError, "is an archive, expected .*unpack it first")
    (folder / "fish").mkdir()
    one_line(lambda: data.image_folder(folder), FileNotFoundError, r"no image in .*fish, expected files ending in \.jpg.*leaves")
    one_line(lambda: data.image_folder(folder / "fish"), FileNotFoundError, "is empty")
    for split in ("train", "val"):
        save(folder / "parent" / split / "cat" / "a.png")
    one_line(lambda: data.image_folder(folder / "parent"), ValueError, "holds the splits train, val.*give .*parent/train")


def test_without_pillow_the_package_is_named(pets, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    one_line(lambda: data.image_folder(pets[0]), ImportError, "jv.data.image_folder needs PIL: pip install pillow")


def test_random_crops_have_one_shape_and_are_a_pure_function(pets):
    source = data.random_crops(data.image_folder(pets[0]), 5)
    assert len(source) == 5 and source.classes == ["cat", "dog"] and source.labels.tolist() == [0, 0, 1, 1, 1]
    assert {source[i]["image"].shape for i in range(5)} == {(5, 5, 3)} and source[0]["image"].dtype == np.uint8
    np.testing.assert_array_equal(source[1]["image"], source.draw(1, seed=0, epoch=0)["image"])
    one, other = (list(data.batches(source, 4, seed=1, steps=3, threads=threads)) for threads in (0, 3))
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left["image"], right["image"])
    assert len({source.draw(1, seed=seed, epoch=epoch)["image"].tobytes() for seed in range(2) for epoch in range(3)}) > 3
    assert next(data.batches(data.subset(source, [1]), 1))["image"].shape == (1, 5, 5, 3)
    assert rectangle(375, 500, (0.08, 1), (3 / 4, 4 / 3), uniforms(40, 1, 2, 3).reshape(10, 4)) == (29, 114, 310, 303)  # the same for ever


def test_a_crop_of_everything_is_a_resize():
    image = RANDOM.integers(0, 256, (12, 12, 3), np.uint8)
    source = data.random_crops(data.arrays(image[None], [0]), 5, scale=(1, 1), ratio=(1, 1))
    expected = np.asarray(Image.fromarray(image).resize((5, 5), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(source[0]["image"], expected)


@pytest.mark.parametrize("shape", [(375, 500), (40, 400), (400, 40), (1, 100), (100, 1)])
def test_rectangles_are_distributed_as_in_torchvision(shape):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is not installed: parity is NOT checked here")
    stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")
    scale, ratio, count = (0.08, 1.0), (3 / 4, 4 / 3), 1500
    torch.manual_seed(0)
    blank = torch.zeros(1, *shape)
    theirs = np.array([transforms.RandomResizedCrop.get_params(blank, scale, ratio) for _ in range(count)])
    ours = np.array([rectangle(*shape, scale, ratio, uniforms(40, 0, 0, i).reshape(10, 4)) for i in range(count)])
    top, left, height, width = ours.T
    assert (ours >= 0).all() and (height > 0).all() and (width > 0).all()
    assert (top + height <= shape[0]).all() and (left + width <= shape[1]).all()
    for mine, other in zip(ours.T, theirs.T, strict=True):
        assert stats.ks_2samp(mine, other).pvalue > 1e-4
    assert stats.ks_2samp(height * width, theirs[:, 2] * theirs[:, 3]).pvalue > 1e-4


@pytest.mark.parametrize(("height", "width", "size", "resize"), [(30, 41, 16, 20), (41, 30, 15, 20), (9, 9, 8, 8), (7, 20, 12, 13)])
def test_center_crops_are_those_of_torchvision(height, width, size, resize):
    pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is not installed: parity is NOT checked here")
    image = RANDOM.integers(0, 256, (height, width, 3), np.uint8)
    reference = transforms.Compose([transforms.Resize(resize), transforms.CenterCrop(size)])
    ours = data.center_crops(data.arrays(image[None], [0]), size, resize=resize)[0]
    np.testing.assert_array_equal(ours["image"], np.asarray(reference(Image.fromarray(image))))
    assert ours["label"] == 0


def test_crops_refuse_what_makes_no_sense():
    source = data.arrays(np.zeros((1, 4, 4, 1), np.uint8), [0])
    assert data.center_crops(source, 2, resize=3)[0]["image"].shape == (2, 2, 3)  # gray becomes RGB
    one_line(lambda: data.center_crops(source, 224, resize=200), ValueError, "resize: found 200, expected at least .* 224")
    one_line(lambda: data.random_crops(source, 0), ValueError, "size: found 0")
    one_line(lambda: data.random_crops(source, 8, scale=(0, 1)), ValueError, r"scale: found \(0, 1\)")
    one_line(lambda: data.random_crops(source, 8, ratio=(2, 1)), ValueError, r"ratio: found \(2, 1\)")
    floats = data.arrays(np.zeros((1, 4, 4, 3), np.float32), [0])
    one_line(lambda: data.random_crops(floats, 2)[0], ValueError, "image: found float32 of shape .* expected uint8")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder in which tensorflow-datasets has prepared a tiny data set, without TensorFlow."""
    library = pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets is not installed: tfds is NOT checked here")
    folder = tmp_path_factory.mktemp("tfds")

    class TinyPets(library.core.GeneratorBasedBuilder):
        """Twelve plain images of three classes."""

        VERSION = library.core.Version("1.0.0")

        def _info(self):
            image, label = library.features.Image(shape=(8, 6, 3)), library.features.ClassLabel(names=["cat", "dog", "fish"])
            features = library.features.FeaturesDict({"image": image, "label": label, "id": library.features.Text()})
            return library.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(12):
                file = io.BytesIO()
                Image.fromarray(np.full((8, 6, 3), i, np.uint8)).save(file, "PNG")
                file.seek(0)
                yield i, {"image": file, "label": i % 3, "id": str(i)}

    TinyPets(data_dir=folder).download_and_prepare(file_format="array_record")
    return folder


def test_tfds_reads_what_was_prepared(prepared):
    source = data.tfds("tiny_pets", "train", data_dir=prepared)
    assert len(source) == 12 and source.classes == ["cat", "dog", "fish"]
    example = source[3]
    assert example["image"].shape == (8, 6, 3) and type(example["label"]) is int
    values = np.array([source[i]["image"][0, 0, 0] for i in range(12)])
    assert sorted(values) == list(range(12))
    np.testing.assert_array_equal(source.labels, values % 3)
    batch = next(data.batches(source, 5, threads=3))
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0] % 3, batch["label"])
    assert set(batch) == {"image", "label", "index", "epoch"} and len(list(source)) == 12
    assert len(data.tfds("tiny_pets", "train[:50%]", data_dir=prepared)) == 6
    assert "tensorflow" not in sys.modules


def test_tfds_says_what_to_do(prepared, tmp_path):
    one_line(lambda: data.tfds("tiny_pets", "test", data_dir=prepared), ValueError, "cannot read 'test' of tiny_pets .* it has train")
    one_line(lambda: data.tfds("cifar10", "train", data_dir=tmp_path), FileNotFoundError, "not prepared .* tfds build cifar10")
    one_line(lambda: data.tfds("cifar_ten", "train", data_dir=tmp_path), FileNotFoundError, "knows no 'cifar_ten'")


def test_describe_names_what_is_there_and_what_reads_it(pets, prepared, tmp_path):
    folder, _ = pets
    assert "image folder" in data.describe(folder) and "2 classes: cat, dog; jv.data.image_folder" in data.describe(folder)
    assert "tiny_pets/1.0.0; jv.data.tfds" in data.describe(prepared)
    mixed = tmp_path / "mixed"
    for kind, rank in (("images", 3), ("labels", 1)):
        mixed.mkdir(exist_ok=True)
        (mixed / f"train-{kind}-idx{rank}-ubyte.gz").touch()
    assert "idx files (train; jv.data.idx)" in data.describe(mixed)
    np.savez(mixed / "a.npz", x=0)
    (mixed / "cifar-10-batches-py").mkdir()
    (mixed / "cifar-10-batches-py" / "test_batch").touch()
    for found in ("CIFAR (cifar-10-batches-py; jv.data.cifar)", "npz (a.npz; jv.data.npz)"):
        assert found in data.describe(mixed) and found in data.describe(mixed / "a.npz")
    for split in ("train", "val"):
        save(tmp_path / "net" / split / "n01" / "a.JPEG")
    assert "image folder (one each in train, val; jv.data.image_folder)" in data.describe(tmp_path / "net")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").touch()
    nothing = data.describe(tmp_path / "notes")
    assert "holds a.txt, none of the known layouts" in nothing and "train-images-idx3-ubyte" in nothing and "\n" not in nothing
    one_line(lambda: data.describe(tmp_path / "gone"), FileNotFoundError, "gone does not exist")

"""Image folders and archives of them, host-side crops, and the description of a folder."""

import json
import os
import pickle
import re
import sys
import warnings
import zipfile

import numpy as np
import pytest

from jaxvision import data
from jaxvision.data._order import uniforms  # the numbers of every crop, compared with splitmix64's in test_order.py
from jaxvision.data.cropping import rectangle
from jaxvision.data.detect import survey
from tests.data.errors import one_line

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: image files are NOT checked here")
RANDOM = np.random.default_rng(0)


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
    for content, reason in ((whole[:60], None), (b"", "empty"), (b"hello", "not an image")):
        (folder / "cat" / "a.png").write_bytes(content)
        source = data.image_folder(folder)  # decodes nothing
        error = one_line(lambda source=source: source[0], data.BrokenImage, "cat/a.png")
        assert reason in (None, error.reason)
    (folder / "cat" / "a.png").unlink()
    one_line(lambda: source[0], data.BrokenImage, "a.png")


def test_folders_of_other_layouts_are_refused(pets):
    folder, _ = pets
    one_line(lambda: data.image_folder(folder / "none"), FileNotFoundError, "none", "cat/, dog/")
    one_line(lambda: data.image_folder(folder, classes=["cat", "bird"]), FileNotFoundError, "bird", "cat/, dog/")
    one_line(lambda: data.image_folder(folder / "dog"), FileNotFoundError, "c.webp")
    (folder / "fish").mkdir()
    one_line(lambda: data.image_folder(folder), FileNotFoundError, "fish", ".jpg")
    one_line(lambda: data.image_folder(folder / "fish"), FileNotFoundError, "fish")
    for split in ("train", "val"):
        save(folder / "parent" / split / "cat" / "a.png")
    one_line(lambda: data.image_folder(folder / "parent"), ValueError, "train, val", "parent/train")


def test_without_pillow_the_package_is_named(pets, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    one_line(lambda: data.image_folder(pets[0]), ImportError, "pip install pillow")


def archive_of(folder, path, prefix=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


@pytest.mark.parametrize("prefix", ["", "pets-main/", "downloads/pets/"])
def test_an_archive_is_read_as_its_folder_is(pets, tmp_path_factory, prefix):
    plain = data.image_folder(pets[0])
    packed = data.image_folder(archive_of(pets[0], tmp_path_factory.mktemp("zip") / "pets.zip", prefix))
    assert packed.classes == plain.classes and packed.files == plain.files and packed.labels.tolist() == plain.labels.tolist()
    for one, other in zip(packed, plain, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
    assert len(pickle.loads(pickle.dumps(packed))) == 5


@pytest.mark.parametrize("packed", [False, True])
def test_pictures_that_are_left_out_are_counted(pets, tmp_path_factory, packed):
    folder = pets[0]
    elsewhere = tmp_path_factory.mktemp("zip")

    def where():
        return archive_of(folder, elsewhere / "pets.zip") if packed else folder

    for name in ("README.md", "boxes.JSON", "list.csv", "a.xml", "Thumbs.db", ".DS_Store", ".hidden"):
        (folder / "cat" / name).touch()
    (folder / "stray.heic").touch()  # in no class
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.image_folder(where())
    for name in ("cat/b.HEIC", "cat/c.heic", "dog/plain"):
        (folder / name).touch()
    with pytest.warns(UserWarning) as warned:
        source = data.image_folder(where())
    assert len(source) == 5 and len(warned) == 1 and warned[0].filename == __file__
    for text in (str(warned[0].message), data.describe(where())):
        assert re.search("3 .*cat/b.HEIC.*2 .heic, 1 ", text) and "\n" not in text
    with pytest.warns(UserWarning, match="dog/plain"):
        data.image_folder(where(), classes=["dog"])
    (folder / "fish").mkdir()
    (folder / "fish" / "a.jxl").touch()
    one_line(lambda: data.image_folder(where()), FileNotFoundError, "fish", "a.jxl", "1 .jxl")


@pytest.fixture
def split_pets(tmp_path):
    """A folder of training/{cat,dog,fish} and valid/{cat,fish}."""
    for name in ("training/cat/a", "training/dog/a", "training/fish/a", "valid/cat/b", "valid/fish/b"):
        save(tmp_path / "data" / f"{name}.png")
    return tmp_path / "data"


@pytest.mark.parametrize("packed", [False, True])
def test_splits_share_their_classes(split_pets, tmp_path, packed):
    where = archive_of(split_pets, tmp_path / "data.zip") if packed else split_pets
    train, val = data.image_folder(where, "train"), data.image_folder(where, "validation")
    assert train.classes == val.classes == ["cat", "dog", "fish"]
    assert train.labels.tolist() == [0, 1, 2] and val.labels.tolist() == [0, 2] and val[1]["label"] == 2
    assert data.image_folder(where, "val", classes=["fish", "cat"]).labels.tolist() == [0, 1]
    one_line(lambda: data.image_folder(where), ValueError, "training, valid", "image_folder(folder, 'training')")
    one_line(lambda: data.image_folder(where, "test"), ValueError, "split", "training/, valid/", "testing", "jv.data.split(")
    one_line(lambda: data.image_folder(where, "evaluation"), ValueError, "split", "evaluation", "train, val, test")
    one_line(lambda: data.image_folder(where, "val", classes=["bird"]), FileNotFoundError, "classes", "bird")
    one_line(lambda: data.image_folder(where, "val", classes=["cat", "cat"]), ValueError, "classes", "cat")


def test_a_class_that_training_lacks_is_named(split_pets):
    save(split_pets / "valid" / "bird" / "a.png")
    one_line(lambda: data.image_folder(split_pets, "val"), ValueError, "split", "valid", "bird", "training")


def test_a_background_and_a_limit_are_those_of_the_source(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((4, 5, 4), np.uint8)).save(tmp_path / "a" / "clear.png")
    assert data.image_folder(tmp_path, background=(1, 2, 3))[0]["image"][0, 0].tolist() == [1, 2, 3]
    one_line(lambda: data.image_folder(tmp_path, max_pixels=19)[0], data.BrokenImage, "clear.png")
    one_line(lambda: data.image_folder(tmp_path, max_pixels=0), ValueError, "max_pixels")


def test_the_flowers_from_their_archive(data_folder):
    source = data.image_folder(data_folder / "flowers96" / "flowers96.zip", "train")
    assert np.bincount(source.labels).tolist() == [506, 718, 512, 559, 639]
    assert source.classes == ["daisy", "dandelion", "roses", "sunflowers", "tulips"] and min(source[7]["image"].shape[:2]) == 96


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


class Boxed:
    """One picture with a box and a mask, with or without ``view``."""

    classes, labels = ["a"], np.zeros(1, np.int64)

    def __len__(self):
        return 1

    def __getitem__(self, i):
        image = np.zeros((40, 60, 3), np.uint8)
        image[10:30, 20:50] = 255
        boxes, box_label = np.float32([[20, 10, 50, 30], [0, 0, 0, 0]]), np.int32([0, -1])
        return {"image": image, "label": 0, "boxes": boxes, "box_label": box_label, "mask": (image[..., 0] > 0).astype(np.uint8)}


@pytest.mark.parametrize("crops", [lambda source: data.random_crops(source, 32), lambda source: data.center_crops(source, 24, resize=32)])
def test_boxes_and_masks_follow_the_crop(crops):
    source = crops(Boxed())
    for epoch in range(8):
        example = source.draw(0, seed=0, epoch=epoch) if hasattr(source, "draw") else source[0]
        white = example["image"][..., 0] > 127
        assert (white != example["mask"]).mean() < 0.08
        if example["box_label"][0] == 0:
            left, top, right, bottom = example["boxes"][0]
            rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
            np.testing.assert_allclose([left, top, right, bottom], [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], atol=1.01)
        else:
            assert white.mean() < 0.05
        assert example["box_label"][1] == -1 and not example["boxes"][1].any()


def test_crops_of_files_are_those_of_their_pixels(tmp_path):
    pixels = [save(tmp_path / "a" / f"{i}.png", 37 + i, 50) for i in range(3)]
    folder = data.image_folder(tmp_path)
    memory = [data.arrays(image[None], [0]) for image in pixels]
    for i in range(3):
        draw = data.random_crops(folder, 16).draw(i, seed=3, epoch=2)["image"]
        place = rectangle(37 + i, 50, (0.08, 1.0), (3 / 4, 4 / 3), uniforms(40, 3, 2, i).reshape(10, 4))
        top, left, tall, wide = place
        cut = Image.fromarray(pixels[i][top : top + tall, left : left + wide]).resize((16, 16), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(draw, np.asarray(cut))
        np.testing.assert_array_equal(
            data.center_crops(folder, 16, resize=20)[i]["image"], data.center_crops(memory[i], 16, resize=20)[0]["image"]
        )


def test_crops_refuse_what_makes_no_sense():
    source = data.arrays(np.zeros((1, 4, 4, 1), np.uint8), [0])
    assert data.center_crops(source, 2, resize=3)[0]["image"].shape == (2, 2, 3)  # gray becomes RGB
    one_line(lambda: data.center_crops(source, 224, resize=200), ValueError, "resize")
    one_line(lambda: data.random_crops(source, 0), ValueError, "size")
    one_line(lambda: data.random_crops(source, 8, scale=(0, 1)), ValueError, "scale")
    one_line(lambda: data.random_crops(source, 8, ratio=(2, 1)), ValueError, "ratio")
    floats = data.arrays(np.zeros((1, 4, 4, 3), np.float32), [0])
    one_line(lambda: data.random_crops(floats, 2)[0], ValueError, "image")


def test_describe_names_what_is_there_and_what_reads_it(pets, tmp_path):
    folder, _ = pets
    assert "image folder" in data.describe(folder) and "2 classes: cat, dog; jv.data.image_folder" in data.describe(folder)
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
    assert "a.txt" in nothing and "train-images-idx3-ubyte" in nothing and "\n" not in nothing
    one_line(lambda: data.describe(tmp_path / "gone"), FileNotFoundError, "gone")


def test_describe_knows_the_further_layouts(pets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("layouts")
    archive_of(pets[0], folder / "pets.zip")
    assert "found pets.zip with image folder (2 classes: cat, dog; jv.data.image_folder)" in data.describe(folder)
    assert "pets.zip: found image folder (2 classes: cat, dog; jv.data.image_folder)" in data.describe(folder / "pets.zip")
    cases = {
        "coco": (["annotations/instances_val.json", "val/a.jpg"], "COCO (annotations/instances_val.json; jv.data.coco)"),
        "voc": (["VOC2007/Annotations/a.xml", "VOC2007/JPEGImages/a.jpg"], "VOC (VOC2007/; jv.data.voc)"),
        "pairs": (["train/images/a.jpg", "train/labels/a.png"], "mask pairs (train/; jv.data.mask_pairs)"),
        "net": (
            ["train/n01440764/a.JPEG", "val/ILSVRC2012_val_00000001.JPEG"],
            "ImageNet (train with 1 classes and val flat; jv.data.imagenet)",
        ),
        "list": (["list.csv", "a.jpg"], "image list (list.csv; jv.data.image_list)"),
    }
    for name, (files, expected) in cases.items():
        for file in files:
            (folder / name / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / name / file).touch()
        assert expected in data.describe(folder / name)
        if name in ("voc", "pairs", "net"):
            assert expected in data.describe(archive_of(folder / name, folder / f"{name}.zip"))
    for kind, expected in (
        ("array_record", "x/1.0.0; jv"),
        ("tfrecord", "x/1.0.0 as tfrecord"),
        (None, "cannot be read"),
    ):
        (folder / "tfds" / "x" / "1.0.0").mkdir(parents=True, exist_ok=True)
        text = json.dumps({"fileFormat": kind}) if kind else "{"
        (folder / "tfds" / "x" / "1.0.0" / "dataset_info.json").write_text(text)
        assert expected in data.describe(folder / "tfds")
    (folder / "broken.zip").write_bytes(b"PK")
    one_line(lambda: data.describe(folder / "broken.zip"), ValueError, "broken.zip")
    with zipfile.ZipFile(folder / "text.zip", "w") as archive:
        archive.writestr("a.txt", "hello")
    assert all(name in data.describe(folder / "text.zip") for name in ("a.txt", "ImageNet", "jv.data.voc"))


def test_unreadable_parts_do_not_hide_the_rest(pets, monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    archive_of(pets[0], folder / "pets.zip")
    (folder / "bad.zip").write_bytes(b"PK")
    for name in ("cat", "cow"):
        save(folder / name / "a.png")
    facts, problems = survey(folder)
    assert len(facts) == 1 and "image folder (2 classes: cat, cow; " in facts[0] and "pets.zip with image folder (2 classes" in facts[0]
    assert len(problems) == 1 and "bad.zip" in problems[0]
    assert data.describe(folder) == f"{facts[0]} {problems[0]}"

    def refused(path):
        if str(path).endswith("cat"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", refused)
    facts, problems = survey(folder)
    assert "image folder (1 classes: cow; " in facts[0] and "pets.zip with image folder (2 classes" in facts[0]
    assert str(folder / "cat") in problems[0] and "bad.zip" in problems[1] and len(problems) == 2

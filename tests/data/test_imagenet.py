"""ImageNet's own layouts, Kaggle's, and flat validation folders, with a devkit of three classes."""

import zipfile

import numpy as np
import pytest

from jaxvision import data
from tests.data.errors import one_line

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: image files are NOT checked here")
WNIDS = ["n01440764", "n02012849", "n03126707"]
WORDS = ["tench, Tinca tinca", "crane", "crane"]
CLASSES = ["tench, Tinca tinca", "crane (n02012849)", "crane (n03126707)"]
NUMBERS = {"n01440764": 3, "n02012849": 1, "n03126707": 2}  # the devkit's own, which are not in the order of the names
TRUTH = ["n03126707", "n01440764", "n01440764", "n02012849"]


def picture(path, gray: int):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((5, 6), gray, np.uint8)).save(path)


def training(folder):
    for number, wnid in enumerate(WNIDS):
        for i in range(2):
            picture(folder / wnid / f"{wnid}_{i}.JPEG", 80 * number)


def validation(folder):
    for place, wnid in enumerate(TRUTH, 1):
        picture(folder / f"ILSVRC2012_val_{place:08d}.JPEG", 80 * WNIDS.index(wnid))


def devkit(folder):
    """ImageNet's: meta.mat with three leaves and their parent, and the validation images' numbers."""
    savemat = pytest.importorskip("scipy.io", reason="SciPy is not installed: the devkit is NOT checked here").savemat
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    table = np.empty((4, 1), kinds)
    for row, wnid in enumerate(sorted(WNIDS, key=NUMBERS.get)):
        table[row, 0] = (float(NUMBERS[wnid]), wnid, WORDS[WNIDS.index(wnid)], "text", 0.0)
    table[3, 0] = (1001.0, "n00001740", "entity", "text", 3.0)
    folder.mkdir(parents=True)
    savemat(folder / "meta.mat", {"synsets": table})
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{NUMBERS[wnid]}\n" for wnid in TRUTH))


@pytest.fixture(params=["as downloaded", "class folders", "Kaggle", "Kaggle, packed"])
def folder(request, tmp_path):
    root = tmp_path / "net"
    if request.param == "as downloaded":
        training(root / "ILSVRC2012_img_train")
        validation(root / "ILSVRC2012_img_val")
        devkit(root / "ILSVRC2012_devkit_t12" / "data")
    elif request.param == "class folders":
        training(root / "train")
        for place, wnid in enumerate(TRUTH, 1):
            picture(root / "val" / wnid / f"ILSVRC2012_val_{place:08d}.JPEG", 80 * WNIDS.index(wnid))
        devkit(root / "data")
    else:
        training(root / "ILSVRC" / "Data" / "CLS-LOC" / "train")
        validation(root / "ILSVRC" / "Data" / "CLS-LOC" / "val")
        (root / "LOC_synset_mapping.txt").write_text("".join(f"{wnid} {words}\n" for wnid, words in zip(WNIDS, WORDS, strict=True)))
        rows = [f"ILSVRC2012_val_{place:08d},{wnid} 85 1 499 272 {wnid} 1 2 3 4\n" for place, wnid in enumerate(TRUTH, 1)]
        (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(reversed(rows)))
    if request.param == "Kaggle, packed":
        with zipfile.ZipFile(tmp_path / "net.zip", "w") as archive:
            for file in root.rglob("*.*"):
                archive.write(file, file.relative_to(root).as_posix())
        return tmp_path / "net.zip"
    return root


def test_every_layout_gives_the_same(folder):
    train, val = data.imagenet(folder, "train"), data.imagenet(folder, "val")
    assert train.wnids == val.wnids == WNIDS and train.classes == val.classes == CLASSES
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2] and train.labels.dtype == val.labels.dtype == np.int64
    assert sorted(val.labels) == [0, 0, 1, 2]
    for source in (train, val):
        assert all(abs(int(example["image"][0, 0, 0]) - 80 * example["label"]) < 3 for example in source)
    assert data.random_crops(val, 4)[1]["image"].shape == (4, 4, 3)


def test_classes_without_the_devkit_and_part_of_the_classes(tmp_path):
    training(tmp_path / "train")
    assert data.imagenet(tmp_path, "train").classes == WNIDS
    validation(tmp_path / "val")
    one_line(lambda: data.imagenet(tmp_path, "val"), FileNotFoundError, "split", "meta.mat", "LOC_val_solution.csv")
    devkit(tmp_path / "devkit" / "data")
    for path in sorted((tmp_path / "train" / WNIDS[0]).iterdir()):
        path.unlink()
    (tmp_path / "train" / WNIDS[0]).rmdir()
    val = data.imagenet(tmp_path, "val")
    assert val.wnids == WNIDS[1:] and val.labels.tolist() == [1, 0] and val[0]["image"][0, 0, 0] > 150


def test_without_training_images_the_devkit_tells_the_classes(tmp_path):
    validation(tmp_path / "val")
    devkit(tmp_path / "data")
    val = data.imagenet(tmp_path, "val")
    assert val.wnids == WNIDS and [WNIDS[label] for label in val.labels] == TRUTH


def test_other_layouts_are_refused(tmp_path):
    validation(tmp_path / "val")
    one_line(lambda: data.imagenet(tmp_path, "test"), ValueError, "split")
    one_line(lambda: data.imagenet(tmp_path, "train"), FileNotFoundError, "split", "ILSVRC2012_img_train", "val/")
    devkit(tmp_path / "data")
    (tmp_path / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n2\n3\n")
    one_line(lambda: data.imagenet(tmp_path, "val"), ValueError, "split", "00000004.JPEG")
    (tmp_path / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n9\n")
    one_line(lambda: data.imagenet(tmp_path, "val"), ValueError, "meta.mat")
    (tmp_path / "data" / "meta.mat").write_bytes(b"no table")
    one_line(lambda: data.imagenet(tmp_path, "val"), ValueError, "meta.mat")
    picture(tmp_path / "train" / "n01440764" / "a.JPEG", 0)
    (tmp_path / "data" / "meta.mat").unlink()
    picture(tmp_path / "val" / "n00000001" / "a.JPEG", 0)
    one_line(lambda: data.imagenet(tmp_path, "val"), ValueError, "n00000001", "train")
    (tmp_path / "train" / "n01440764" / "a.JPEG").unlink()
    one_line(lambda: data.imagenet(tmp_path, "train"), FileNotFoundError, "split")

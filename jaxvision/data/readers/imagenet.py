"""Reader for ImageNet as it is downloaded: WordNet numbers as class folders, or a flat validation folder beside its lists of labels."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from jaxvision.data.checking import one_of
from jaxvision.data.decoding import MAX_PIXELS, WHITE, check_decoding
from jaxvision.data.paths import listed
from jaxvision.data.readers.image_folder import ImageFiles, held, is_image, labelled
from jaxvision.data.requirement import need
from jaxvision.data.storage import Files, open_files

EXPECTED = "a folder or .zip of ImageNet: train/n01440764/*.JPEG and val/, with folders as train/ or flat beside the devkit"
_ROOTS = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")  # the archive's own and Kaggle's
_FOLDERS = {"train": ("train", "ILSVRC2012_img_train"), "val": ("val", "ILSVRC2012_img_val")}
_DEVKITS = ("ILSVRC2012_devkit_t12/data", "devkit/data", "data")
_TRUTH, _META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
_SOLUTION, _MAPPING = "LOC_val_solution.csv", "LOC_synset_mapping.txt"
_WNID = re.compile(r"n\d{8}")


def _reached(files: Files, path: str) -> Files | None:
    """What is below a path, if there is such a folder."""
    for name in PurePosixPath(path).parts:
        if name not in files.folders:
            return None
        files = files.within(name)
    return files


def split_folder(files: Files, split: str) -> Files | None:
    """The folder of a split, by any of the names it goes by, if there is one."""
    paths = (f"{root}/{name}" if root else name for root in _ROOTS for name in _FOLDERS[split])
    return next((found for path in paths if (found := _reached(files, path))), None)


def wnid_folders(files: Files) -> list[str]:
    """The folders that are called as WordNet numbers its classes, sorted."""
    return [name for name in files.folders if _WNID.fullmatch(name)]


def _read_devkit(files: Files) -> dict[int, tuple[str, str]]:
    """The devkit's table: {class number of its lists: (wnid, words)}; empty where there is none."""
    for folder in _DEVKITS:
        devkit = f"{folder}/{_META}"
        if files.holds(devkit):
            loadmat = need("scipy.io", install="scipy", reason=f"{files.path(devkit)}").loadmat
            try:
                rows = np.atleast_1d(loadmat(io.BytesIO(files.read(devkit)), squeeze_me=True)["synsets"])
                leaves = rows[rows["num_children"] == 0]
                return {int(row["ILSVRC2012_ID"]): (str(row["WNID"]), str(row["words"])) for row in leaves}
            except Exception as error:  # a damaged file raises almost anything
                raise ValueError(f"folder: {files.path(devkit)} is no table of classes ({error}), expected the devkit's") from error
    return {}


def _read_words(files: Files, devkit: dict[int, tuple[str, str]]) -> dict[str, str]:
    """What the classes are called: {wnid: words}; empty where neither table is there."""
    if not files.holds(_MAPPING):
        return dict(devkit.values())
    lines = files.read(_MAPPING).decode("utf-8", "replace").splitlines()
    return {wnid: words.strip() for wnid, _, words in (line.partition(" ") for line in lines) if _WNID.fullmatch(wnid)}


def _read_truth(files: Files, devkit: dict[int, tuple[str, str]]) -> dict[str, str]:
    """The wnid of every image of the flat validation folder, by the stem of its name; empty where no list of them is there."""
    if files.holds(_SOLUTION):
        rows = csv.reader(io.StringIO(files.read(_SOLUTION).decode("utf-8", "replace")))
        return {row[0]: row[1].split(" ")[0] for row in rows if len(row) == 2 and _WNID.match(row[1])}
    found = next((f"{folder}/{_TRUTH}" for folder in _DEVKITS if files.holds(f"{folder}/{_TRUTH}")), None)
    if found is None or not devkit:
        return {}
    numbers = files.read(found).split()
    if wrong := [number for number in numbers if not number.isdigit() or int(number) not in devkit]:
        raise ValueError(f"folder: {files.path(found)} holds {wrong[0].decode('utf-8', 'replace')!r}, expected class numbers of {_META}")
    return {f"ILSVRC2012_val_{place:08d}": devkit[int(number)][0] for place, number in enumerate(numbers, 1)}


def _flat(images: Files, truth: dict[str, str], wnids: list[str]) -> tuple[list[str], np.ndarray]:
    """The images of a folder without class folders, and their labels."""
    names = sorted(filter(is_image, images.top()))
    if not truth:
        lists = f"{_DEVKITS[0]}/{_TRUTH} and {_META}, or {_SOLUTION}"
        raise FileNotFoundError(f"split: {images.path('')} holds {held(images)} without labels, expected beside it {lists}")
    found = [truth.get(PurePosixPath(name).stem) for name in names]
    if missing := found.count(None):
        first = images.path(names[found.index(None)])
        raise ValueError(f"split: {missing} images, {first} the first, have no label in the list, expected one each")
    numbers = {wnid: number for number, wnid in enumerate(wnids)}
    kept = [(name, numbers[wnid]) for name, wnid in zip(names, found, strict=True) if wnid in numbers]
    return [name for name, _ in kept], np.array([number for _, number in kept], np.int64)


def _class_names(wnids: list[str], words: dict[str, str]) -> list[str]:
    """The words for each class, with its number where two have the same ("crane")."""
    named = [words.get(wnid, wnid) for wnid in wnids]
    return [f"{name} ({wnid})" if named.count(name) > 1 else name for name, wnid in zip(named, wnids, strict=True)]


def imagenet(folder: str | Path, split: str, *, background: Sequence[int] = WHITE, max_pixels: int = MAX_PIXELS):
    """ImageNet's (ILSVRC 2012) split "train" or "val" from a folder or .zip; RGB [H, W, 3] uint8, upright.

    Found are train/n01440764/*.JPEG and val/, also as ILSVRC2012_img_train and _img_val, or below Kaggle's ILSVRC/Data/CLS-LOC. val/ may be
    flat, beside the devkit (ILSVRC2012_devkit_t12/data) or Kaggle's LOC_val_solution.csv. Labels are the places of the sorted WordNet
    numbers, ``source.wnids``; ``source.classes`` are their words where the devkit or LOC_synset_mapping.txt tell them. Where train/ has but
    a part of the classes, val has the same part. Raises FileNotFoundError or ValueError for what is not laid out so. Source: Russakovsky
    et al., ImageNet Large Scale Visual Recognition Challenge, 2015.
    """
    one_of("split", split, tuple(_FOLDERS))
    decoding = check_decoding("jv.data.imagenet", background, max_pixels)
    files = open_files(folder, "folder", EXPECTED)
    images, trained = split_folder(files, split), split_folder(files, "train")
    if images is None:
        names = " or ".join(_FOLDERS[split])
        raise FileNotFoundError(f"split: {files.where} has no {names}, it holds {held(files)}, expected {EXPECTED}")
    devkit = _read_devkit(files)
    words = _read_words(files, devkit)
    found = wnid_folders(images)
    truth = {} if found else _read_truth(files, devkit)
    known = wnid_folders(trained) if trained else []
    wnids = known or found or sorted(words) or sorted(set(truth.values()))
    if unknown := sorted(set(found) - set(wnids)):
        raise ValueError(f"split: {images.path('')} has the classes {listed(unknown)}, which {trained.path('')} has not, expected the same")
    names, labels = labelled(images, wnids) if found else _flat(images, truth, wnids)
    if not names:
        raise FileNotFoundError(f"split: no image in {images.path('')}, it holds {held(images)}, expected {EXPECTED}")
    source = ImageFiles(images, names, labels, _class_names(wnids, words), decoding)
    source.wnids = wnids
    return source

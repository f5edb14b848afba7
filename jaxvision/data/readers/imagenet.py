"""Reader of ImageNet as it is distributed: class folders named by WordNet ids, or a flat validation folder with lists of labels."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from jaxvision import checks
from jaxvision.data.decoding import MAX_PIXELS, WHITE, check_decoding
from jaxvision.data.image_files import ImageFiles, is_image, labelled_by_folder, top_level
from jaxvision.data.paths import listed, need
from jaxvision.data.storage import Files, open_files

EXPECTED = "a folder or .zip of ImageNet: train/n01440764/*.JPEG and val/, with folders as train/ or flat, next to the devkit"
_ROOTS = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")  # the archive's own and Kaggle's
_FOLDERS = {"train": ("train", "ILSVRC2012_img_train"), "val": ("val", "ILSVRC2012_img_val")}
_DEVKITS = ("ILSVRC2012_devkit_t12/data", "devkit/data", "data")
_TRUTH, _META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
_SOLUTION, _MAPPING = "LOC_val_solution.csv", "LOC_synset_mapping.txt"
_WNID = re.compile(r"n\d{8}")


def _folder_at(files: Files, path: str) -> Files | None:
    """The files in the folder at ``path``, or None."""
    for name in PurePosixPath(path).parts:
        if name not in files.folders:
            return None
        files = files.within(name)
    return files


def split_folder(files: Files, split: str) -> Files | None:
    """The folder of a split, by any of its usual names, or None."""
    paths = (f"{root}/{name}" if root else name for root in _ROOTS for name in _FOLDERS[split])
    return next((found for path in paths if (found := _folder_at(files, path))), None)


def wnid_folders(files: Files) -> list[str]:
    """The folders named by a WordNet id, sorted."""
    return [name for name in files.folders if _WNID.fullmatch(name)]


def _read_devkit(files: Files) -> dict[int, tuple[str, str]]:
    """The devkit's table {class number: (WordNet id, words)}; empty without a devkit."""
    for folder in _DEVKITS:
        devkit = f"{folder}/{_META}"
        if files.holds(devkit):
            loadmat = need("scipy.io", install="scipy", reason=f"{files.path(devkit)}").loadmat
            try:
                rows = np.atleast_1d(loadmat(io.BytesIO(files.read(devkit)), squeeze_me=True)["synsets"])
                leaves = rows[rows["num_children"] == 0]
                return {int(row["ILSVRC2012_ID"]): (str(row["WNID"]), str(row["words"])) for row in leaves}
            except Exception as error:  # a damaged file raises almost anything
                raise ValueError(f"folder: {files.path(devkit)} is not a table of classes ({error}), expected the devkit's") from error
    return {}


def _read_words(files: Files, devkit: dict[int, tuple[str, str]]) -> dict[str, str]:
    """The class names {WordNet id: words}; empty if neither table exists."""
    if not files.holds(_MAPPING):
        return dict(devkit.values())
    lines = files.read(_MAPPING).decode("utf-8", "replace").splitlines()
    return {wnid: words.strip() for wnid, _, words in (line.partition(" ") for line in lines) if _WNID.fullmatch(wnid)}


def _read_truth(files: Files, devkit: dict[int, tuple[str, str]]) -> dict[str, str]:
    """{stem of the file name: WordNet id} of the images of a flat validation folder; empty without a list."""
    if files.holds(_SOLUTION):
        rows = csv.reader(io.StringIO(files.read(_SOLUTION).decode("utf-8", "replace")))
        return {row[0]: row[1].split(" ")[0] for row in rows if len(row) == 2 and _WNID.match(row[1])}
    found = next((f"{folder}/{_TRUTH}" for folder in _DEVKITS if files.holds(f"{folder}/{_TRUTH}")), None)
    if found is None or not devkit:
        return {}
    numbers = files.read(found).split()
    if wrong := [number for number in numbers if not number.isdigit() or int(number) not in devkit]:
        raise ValueError(f"folder: {files.path(found)} contains {wrong[0].decode('utf-8', 'replace')!r}, expected class numbers of {_META}")
    return {f"ILSVRC2012_val_{place:08d}": devkit[int(number)][0] for place, number in enumerate(numbers, 1)}


def _flat(images: Files, truth: dict[str, str], wnids: list[str]) -> tuple[list[str], np.ndarray]:
    """The images of a folder without class folders, and their labels."""
    names = sorted(filter(is_image, images.top()))
    if not truth:
        lists = f"{_DEVKITS[0]}/{_TRUTH} and {_META}, or {_SOLUTION}"
        raise FileNotFoundError(f"split: {images.path('')} contains {top_level(images)} without labels, expected {lists} next to it")
    found = [truth.get(PurePosixPath(name).stem) for name in names]
    if missing := found.count(None):
        first = images.path(names[found.index(None)])
        raise ValueError(f"split: {missing} images, {first} the first, have no label in the list, expected one for each image")
    numbers = {wnid: number for number, wnid in enumerate(wnids)}
    kept = [(name, numbers[wnid]) for name, wnid in zip(names, found, strict=True) if wnid in numbers]
    return [name for name, _ in kept], np.array([number for _, number in kept], np.int64)


def _class_names(wnids: list[str], words: dict[str, str]) -> list[str]:
    """The words of each class, with its WordNet id if two classes have the same words ("crane")."""
    named = [words.get(wnid, wnid) for wnid in wnids]
    return [f"{name} ({wnid})" if named.count(name) > 1 else name for name, wnid in zip(named, wnids, strict=True)]


class _ImageNet(ImageFiles):
    wnids: list[str]  # the WordNet id of each class


def imagenet(folder: str | Path, split: str, *, background: Sequence[int] = WHITE, max_pixels: int = MAX_PIXELS) -> _ImageNet:
    """ImageNet (ILSVRC 2012) in a folder or .zip; RGB [H, W, 3] uint8, upright.

    ``split``: "train" or "val". Accepted layouts: train/n01440764/*.JPEG and val/, the same as ILSVRC2012_img_train and _img_val, or in
    Kaggle's ILSVRC/Data/CLS-LOC. val/ may be flat, next to the devkit (ILSVRC2012_devkit_t12/data) or Kaggle's LOC_val_solution.csv. Labels
    number the sorted WordNet ids, ``source.wnids``; ``source.classes`` are words if the devkit or LOC_synset_mapping.txt is there. If
    train/ has only some of the classes, val has the same. ``background``, ``max_pixels``: as in ``read_image``. Source: Russakovsky et al.,
    ImageNet Large Scale Visual Recognition Challenge, 2015.

    Raises FileNotFoundError or ValueError for another layout.

    >>> import pathlib, tempfile, PIL.Image
    >>> import jaxvision as jv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pathlib.Path(folder, "train", "n01440764").mkdir(parents=True)
    ...     PIL.Image.new("RGB", (8, 8)).save(f"{folder}/train/n01440764/0.JPEG")
    ...     print(jv.data.imagenet(folder, "train").wnids)
    ['n01440764']
    """
    checks.one_of("split", split, _FOLDERS)
    decoding = check_decoding("jv.data.imagenet", background, max_pixels)
    files = open_files(folder, "folder", EXPECTED)
    images, trained = split_folder(files, split), split_folder(files, "train")
    if images is None:
        names = " or ".join(_FOLDERS[split])
        raise FileNotFoundError(f"split: {files.where} has no {names}, it contains {top_level(files)}, expected {EXPECTED}")
    devkit = _read_devkit(files)
    words = _read_words(files, devkit)
    found = wnid_folders(images)
    truth = {} if found else _read_truth(files, devkit)
    known = wnid_folders(trained) if trained else []
    wnids = known or found or sorted(words) or sorted(set(truth.values()))
    if unknown := sorted(set(found) - set(wnids)):
        missing = f"the classes {listed(unknown)}, which {trained.path('')} does not have"
        raise ValueError(f"split: {images.path('')} has {missing}, expected the same")
    names, labels = labelled_by_folder(images, wnids) if found else _flat(images, truth, wnids)
    if not names:
        raise FileNotFoundError(f"split: no image in {images.path('')}, it contains {top_level(images)}, expected {EXPECTED}")
    source = _ImageNet(images, names, labels, _class_names(wnids, words), decoding)
    source.wnids = wnids
    return source

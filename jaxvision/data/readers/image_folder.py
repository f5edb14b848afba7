"""Reader of image folders and .zip archives: one sub-folder for each class; an image is decoded when it is read."""

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from jaxvision.data.decoding import MAX_PIXELS, WHITE, check_decoding
from jaxvision.data.image_files import SUFFIXES, ImageFiles, class_folders, is_image, labelled_by_folder, top_level
from jaxvision.data.paths import listed, printable
from jaxvision.data.source import Source
from jaxvision.data.storage import Files, open_files

_ENDINGS = f"expected files with the suffixes {' '.join(SUFFIXES)}"
_OTHER_SUFFIXES = (".txt", ".md", ".json", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".html", ".pdf", ".log", ".ini", ".db")  # not images
EXPECTED = "a folder or .zip with one sub-folder of images for each class"
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
_ALIASES = {alias: split for split, aliases in SPLITS.items() for alias in aliases}


def skipped_files(files: Files, classes: Sequence[str]) -> str:
    """The files in class folders that are skipped because of their suffix, as text with counts; "" if there are none but text files."""
    known, others = set(classes), (*SUFFIXES, *_OTHER_SUFFIXES)
    skipped = [name for name in files.names if "/" in name and name.partition("/")[0] in known and not name.lower().endswith(others)]
    if not skipped:
        return ""
    counts = Counter(PurePosixPath(name).suffix.lower() or "without a suffix" for name in skipped)
    kinds = listed([f"{count} {suffix}" for suffix, count in counts.most_common()])
    return f"{len(skipped)} skipped because of their suffixes, such as {printable(files.path(skipped[0]))}: {kinds}"


def split_folders(files: Files) -> dict[str, str]:
    """The folders with the name of a split: {"train": "training", ...}."""
    return {_ALIASES[name.lower()]: name for name in reversed(class_folders(files)) if name.lower() in _ALIASES}


def entered(files: Files) -> Files:
    """The files in the only top-level folder of an archive, if it has a single one that is not a class; else the same files."""
    while files.where.is_file() and len(found := class_folders(files)) == 1 and not split_folders(files):
        inside = files.within(found[0])
        if not inside.folders or any(map(is_image, inside.top())):
            break
        files = inside
    return files


def _split_of(files: Files, split: str) -> tuple[Files, list[str]]:
    """The files of a split, and the classes of the training split, if there is one, else its own."""
    found = split_folders(files)
    wanted = _ALIASES.get(split.lower())
    if wanted not in found:
        fix = "train, held_out = jv.data.split(source, 0.2, seed=0) makes one, and so does --held-out 0.2"
        names = f"a sub-folder {' or '.join(SPLITS[wanted])}" if wanted else f"one of {', '.join(SPLITS)}"
        raise ValueError(f"split: found {split!r} and {files.where} with {top_level(files)}, expected {names}; {fix}")
    inside = files.within(found[wanted])
    classes = class_folders(inside)
    trained = class_folders(files.within(found["train"])) if "train" in found else classes
    if unknown := sorted(set(classes) - set(trained)):
        raise ValueError(
            f"split: {found[wanted]} has the classes {listed(unknown)}, which {found['train']} does not have, expected the same"
        )
    return inside, trained


def _check_classes(classes: list[str], found: list[str], files: Files) -> None:
    if missing := [name for name in classes if name not in found]:
        raise FileNotFoundError(f"classes: {files.path('')} has no sub-folder {', '.join(missing)}, it contains {top_level(files)}")
    if len(set(classes)) < len(classes):
        raise ValueError(f"classes: found {listed(classes)}, expected each name once")


def image_folder(
    folder: str | Path,
    split: str | None = None,
    *,
    classes: Sequence[str] | None = None,
    background: Sequence[int] = WHITE,
    max_pixels: int = MAX_PIXELS,
) -> Source:
    """A folder or .zip archive with one sub-folder for each class; images are RGB [H, W, 3] uint8, upright.

    ``split``: "train", "val" or "test" (or "training", "validation", "valid", "testing"), if sub-folders of these names contain the class
    folders; labels then are numbers of the training split's classes. ``classes``: the sub-folders to read, in the order of their labels; by
    default all, sorted. ``background``, ``max_pixels``: as in ``read_image``. Images may differ in size; ``random_crops`` and
    ``center_crops`` give them one size. Image files are found by their suffix and decoded by their content; files with other suffixes are
    skipped, with a warning that counts them. A broken image raises BrokenImage at ``source[i]``.

    Raises FileNotFoundError, NotADirectoryError, PermissionError or ValueError for a folder of another layout.

    >>> import pathlib, tempfile, PIL.Image, jaxvision as jv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat", "dog"):
    ...         pathlib.Path(folder, name).mkdir()
    ...         PIL.Image.new("RGB", (8, 8)).save(f"{folder}/{name}/0.png")
    ...     print(jv.data.image_folder(folder).classes)
    ['cat', 'dog']
    """
    decoding = check_decoding("jv.data.image_folder", background, max_pixels)
    files = entered(open_files(folder, "folder", EXPECTED))
    if split is None:
        available = class_folders(files)
        if classes is None and available and set(map(str.lower, available)) <= set(_ALIASES):
            fix = f"image_folder(folder, {available[0]!r}) or {files.path(available[0])}"
            raise ValueError(f"folder: {files.path('')} contains the splits {', '.join(available)}, expected {EXPECTED}: pass {fix}")
    else:
        files, available = _split_of(files, split)
    if not available:
        fix = "; jv.data.image_list reads a folder of images with a list of labels"
        raise FileNotFoundError(f"folder: {files.path('')} has no sub-folders, only {top_level(files)}, expected {EXPECTED}{fix}")
    if classes is not None:
        _check_classes(list(classes), available, files)
    classes = available if classes is None else list(classes)
    names, labels = labelled_by_folder(files, classes)
    counts = np.bincount(labels, minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if not count]
    if empty and (split is None or _ALIASES[split.lower()] == "train" or len(empty) == len(classes)):
        skipped = skipped_files(files, empty[:1])
        found = f"{files.path(empty[0])}, {f'{skipped}; ' if skipped else ''}{_ENDINGS}"
        raise FileNotFoundError(f"folder: found no image in {found}; classes=[...] selects other sub-folders")
    if skipped := skipped_files(files, classes):
        warnings.warn(f"folder: files in {files.path('')}, {skipped}; {_ENDINGS}", stacklevel=2)
    return ImageFiles(files, names, labels, classes, decoding)

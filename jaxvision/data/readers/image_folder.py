"""Reader for image folders and .zip archives of them: one sub-folder a class, images decoded when they are asked for."""

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from jaxvision.data.decoding import MAX_PIXELS, WHITE, Choose, check_decoding, decode, decode_part
from jaxvision.data.paths import listed, printable
from jaxvision.data.storage import Files, open_files

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".avif"),
)
_ENDINGS = f"expected files ending in {' '.join(SUFFIXES)}"
_BESIDE = (".txt", ".md", ".json", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".html", ".pdf", ".log", ".ini", ".db")  # no pictures
EXPECTED = "a folder or .zip with one sub-folder of images a class"
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
_ALIASES = {alias: split for split, aliases in SPLITS.items() for alias in aliases}


class ImageFiles:
    """Image files and their labels; nothing is decoded before it is asked for."""

    def __init__(self, storage: Files, files: list[str], labels: np.ndarray, classes: list[str], decoding: dict):
        self.storage, self.files, self.labels, self.classes, self.decoding = storage, files, labels, classes, decoding

    def __len__(self) -> int:
        return len(self.files)

    def _read(self, i: int, decoder, *options) -> dict:
        name = self.files[i]
        image = decoder(self.storage.read(name), self.storage.path(name), *options, **self.decoding)
        return {"image": image, "label": int(self.labels[i])}

    def __getitem__(self, i: int) -> dict:
        return self._read(i, decode)

    def view(self, i: int, choose: Choose) -> dict:
        """Example i with the resized part of its image that ``choose`` chooses, see ``decode_part``."""
        return self._read(i, decode_part, choose)


def class_folders(files: Files) -> list[str]:
    """The names of the folders that may be classes, sorted."""
    return [name for name in files.folders if not name.startswith("__")]


def is_image(name: str) -> bool:
    """Whether a file's name says that it is an image."""
    return name.lower().endswith(SUFFIXES)


def left_out(files: Files, classes: Sequence[str]) -> str:
    """The files in the class folders that are left out, counted by suffix; "" where none is or all are, by name, no pictures."""
    known, others = set(classes), (*SUFFIXES, *_BESIDE)
    found = [name for name in files.names if "/" in name and name.partition("/")[0] in known and not name.lower().endswith(others)]
    if not found:
        return ""
    counts = Counter(PurePosixPath(name).suffix.lower() or "without a suffix" for name in found)
    kinds = listed([f"{count} {suffix}" for suffix, count in counts.most_common()])
    return f"{len(found)} left out by their suffixes, such as {printable(files.path(found[0]))}: {kinds}"


def held(files: Files) -> str:
    """What is at the top, in a few words."""
    return listed([f"{name}/" for name in files.folders] or files.names)


def split_folders(files: Files) -> dict[str, str]:
    """The folders that are named as splits are, by split: {"train": "training", ...}."""
    return {_ALIASES[name.lower()]: name for name in reversed(class_folders(files)) if name.lower() in _ALIASES}


def entered(files: Files) -> Files:
    """What is in the one folder of an archive that was made of that folder; else the same files."""
    while files.where.is_file() and len(found := class_folders(files)) == 1 and not split_folders(files):
        inside = files.within(found[0])
        if not inside.folders or any(map(is_image, inside.top())):
            break
        files = inside
    return files


def _split_of(files: Files, split: str) -> tuple[Files, list[str]]:
    """The files of a split and the classes that it shares with the training split, if there is one."""
    found = split_folders(files)
    wanted = _ALIASES.get(split.lower())
    if wanted not in found:
        fix = "train, held_out = jv.data.split(source, 0.2, seed=0) makes one, as --held-out 0.2 does"
        names = f"a sub-folder {' or '.join(SPLITS[wanted])}" if wanted else f"one of {', '.join(SPLITS)}"
        raise ValueError(f"split: found {split!r} and {files.where} with {held(files)}, expected {names}; {fix}")
    inside = files.within(found[wanted])
    classes = class_folders(inside)
    trained = class_folders(files.within(found["train"])) if "train" in found else classes
    if unknown := sorted(set(classes) - set(trained)):
        raise ValueError(f"split: {found[wanted]} has the classes {listed(unknown)}, which {found['train']} has not, expected the same")
    return inside, trained


def _check_classes(classes: list[str], found: list[str], files: Files) -> None:
    if missing := [name for name in classes if name not in found]:
        raise FileNotFoundError(f"classes: {files.path('')} has no sub-folder {', '.join(missing)}, it holds {held(files)}")
    if len(set(classes)) < len(classes):
        raise ValueError(f"classes: found {listed(classes)}, expected each name once")


def labelled(files: Files, folders: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The images below the given folders, in the order of these and then by path, and the number of the folder of each, [N] int64."""
    inside: dict[str, list[str]] = {name: [] for name in folders}
    for name in files.names:
        folder, slash, _ = name.partition("/")
        if slash and folder in inside and is_image(name):
            inside[folder].append(name)
    labels = np.repeat(np.arange(len(inside)), [len(names) for names in inside.values()])
    return [name for names in inside.values() for name in names], labels


def image_folder(
    folder: str | Path,
    split: str | None = None,
    *,
    classes: Sequence[str] | None = None,
    background: Sequence[int] = WHITE,
    max_pixels: int = MAX_PIXELS,
):
    """A folder or .zip archive with one sub-folder a class, all images RGB [H, W, 3] uint8, upright.

    ``split``: "train", "val" or "test" (or validation, training, ...), where sub-folders of such names hold the classes; labels then count
    in the training split's classes, so that they agree. ``classes``: the sub-folders to read, in the order of their labels; all, by name,
    without. Sizes may differ: ``random_crops`` and ``center_crops`` make them one. Files are known by their suffix, their format by their
    content; ``background`` and ``max_pixels`` as in ``read_image``. A broken one raises BrokenImage at ``source[i]``.
    Files of other suffixes are left out, with a warning that counts them.

    Raises FileNotFoundError, NotADirectoryError, PermissionError or ValueError for what is not laid out so.
    """
    decoding = check_decoding("jv.data.image_folder", background, max_pixels)
    files = entered(open_files(folder, "folder", EXPECTED))
    if split is None:
        found = class_folders(files)
        if classes is None and found and set(map(str.lower, found)) <= set(_ALIASES):
            fix = f"image_folder(folder, {found[0]!r}) or {files.path(found[0])}"
            raise ValueError(f"folder: {files.path('')} holds the splits {', '.join(found)}, expected {EXPECTED}: give {fix}")
    else:
        files, found = _split_of(files, split)
    if not found:
        lists = "; jv.data.image_list reads a flat folder with a list of labels"
        raise FileNotFoundError(f"folder: {files.path('')} has no sub-folders, only {held(files)}, expected {EXPECTED}{lists}")
    if classes is not None:
        _check_classes(list(classes), found, files)
    classes = found if classes is None else list(classes)
    names, labels = labelled(files, classes)
    counts = np.bincount(labels, minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if not count]
    if empty and (split is None or _ALIASES[split.lower()] == "train" or len(empty) == len(classes)):
        others = left_out(files, empty[:1])
        found = f"{files.path(empty[0])}, {f'{others}; ' if others else ''}{_ENDINGS}"
        raise FileNotFoundError(f"folder: no image in {found}; classes=[...] leaves a sub-folder out")
    if others := left_out(files, classes):
        warnings.warn(f"folder: files in {files.path('')}, {others}; {_ENDINGS}", stacklevel=2)
    return ImageFiles(files, names, labels, classes, decoding)

"""What lies in a folder: which of the known layouts of image data, for people who wonder what to type."""

import os
from pathlib import Path

from jaxvision.data import cifar_files, compressed, folders, mnist
from jaxvision.data.paths import contents, existing, existing_folder

_TFDS = "NAME/VERSION/dataset_info.json beside array_record files"


def _find_idx(folder: Path) -> str:
    splits = [split for split in ("train", "test") if all(mnist.find_idx(folder, split, kind) for kind in ("images", "labels"))]
    return " and ".join(splits)


def _find_cifar(folder: Path) -> str:
    found = cifar_files.find_cifar(folder)
    return found.name if found else ""


def _find_npz(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.glob("*.npz")))


def _holds_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(folders.SUFFIXES) for entry in entries)


def _find_classes(folder: Path) -> str:
    names = folders.class_folders(folder)
    found = [name for name in names if _holds_images(folder / name)]
    if found:
        return f"{len(found)} classes: {', '.join(found[:4])}{', ...' if len(found) > 4 else ''}"
    splits = [name for name in names if any(_holds_images(folder / name / inner) for inner in folders.class_folders(folder / name))]
    return f"one each in {', '.join(splits)}" if splits else ""


def _find_tfds(folder: Path) -> str:
    if _find_classes(folder):
        return ""  # spares a long walk through a million images
    files = [*folder.glob("*/*/dataset_info.json"), *folder.glob("*/*/*/dataset_info.json")]
    return ", ".join(sorted(path.parent.relative_to(folder).as_posix() for path in files))


_LAYOUTS = (  # (called, read by, what is expected, what finds it)
    ("idx files", "jv.data.idx", mnist.EXPECTED, _find_idx),
    ("CIFAR", "jv.data.cifar", cifar_files.EXPECTED, _find_cifar),
    ("npz", "jv.data.npz", compressed.EXPECTED, _find_npz),
    ("image folder", "jv.data.image_folder", folders.EXPECTED, _find_classes),
    ("tfds", "jv.data.tfds", _TFDS, _find_tfds),
)


def describe(folder: str | Path) -> str:
    """One paragraph: which of the known layouts a folder holds and what reads them, or, when it holds none, what each would look like.

    A file is described by the folder that it lies in. Raises FileNotFoundError, in one line, when there is no such path or it is empty.
    """
    path = existing(folder, "folder", "a folder of image data")
    folder = existing_folder(path if path.is_dir() else path.absolute().parent, "folder", "a folder of image data")
    found = [f"{called} ({what}; {reader})" for called, reader, _, find in _LAYOUTS if (what := find(folder))]
    if found:
        return f"{folder}: found {'; '.join(found)}."
    expected = "; ".join(f"{called} ({reader}): {form}" for called, reader, form, _ in _LAYOUTS)
    return f"{folder}: holds {contents(folder)}, none of the known layouts. Expected one of {expected}."

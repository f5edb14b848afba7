"""Reader for image folders: one sub-folder a class, images decoded when they are asked for."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.data.paths import contents, existing_folder
from jaxvision.data.requirement import need

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff")
EXPECTED = "a folder with one sub-folder of images a class"
_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


class BrokenImage(ValueError):
    """An image file that cannot be decoded: its path and the reason, in one line."""


def decode(path: str) -> np.ndarray:
    """An image file as [H, W, 3] uint8, turned upright as its EXIF orientation says; raises BrokenImage."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError as error:
        raise BrokenImage(f"{path}: the file is gone") from error
    except UnidentifiedImageError as error:
        raise BrokenImage(f"{path}: {'no image that Pillow can read' if os.path.getsize(path) else 'the file is empty'}") from error
    except Exception as error:  # damaged files raise almost anything: OSError, SyntaxError, struct.error, DecompressionBombError, ...
        raise BrokenImage(f"{path}: {' '.join(str(error).split()) or type(error).__name__}") from error


class _ImageFolder:
    """Files and labels; nothing is decoded before it is asked for."""

    def __init__(self, files: list[str], labels: np.ndarray, classes: list[str]):
        self.files, self.labels, self.classes = files, labels, classes

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> dict:
        return {"image": decode(self.files[i]), "label": int(self.labels[i])}


def _images_below(folder: Path) -> list[str]:
    """The image files in a folder and its sub-folders, sorted by path, hidden ones left out."""
    found = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(parent, name) for name in files if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    return sorted(found)


def class_folders(folder: Path) -> list[str]:
    """The names of the visible sub-folders, sorted."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))


def read_image(path: str | Path) -> np.ndarray:
    """An image file as [H, W, 3] uint8, upright. Raises BrokenImage where it cannot be decoded, FileNotFoundError where it is not."""
    need("PIL", install="pillow", reason="jv.data.read_image")
    if not Path(path).is_file():
        raise FileNotFoundError(f"path: {path} is no file, expected an image")
    return decode(str(path))


def image_folder(folder: str | Path, *, classes: Sequence[str] | None = None):
    """A folder with one sub-folder a class, all images RGB [H, W, 3] uint8, turned upright as their EXIF orientation says.

    Sizes may differ: ``random_crops`` and ``center_crops`` make them one. ``classes``: the sub-folders to read, in the order of their
    labels; all, by name, without. Files are known by their suffix and decoded by Pillow when they are asked for: a broken one raises
    BrokenImage at ``source[i]``. Raises FileNotFoundError or ValueError for a folder that is not laid out so.
    """
    need("PIL", install="pillow", reason="jv.data.image_folder")
    if str(folder).lower().endswith(".zip"):
        raise ValueError(f"folder: {folder} is an archive, expected {EXPECTED}: unpack it first")
    folder = existing_folder(folder, "folder", EXPECTED)
    found = class_folders(folder)
    if not found:
        raise FileNotFoundError(f"folder: {folder} has no sub-folders, only {contents(folder)}, expected {EXPECTED}")
    if classes is None and set(map(str.lower, found)) <= _SPLITS:
        raise ValueError(f"folder: {folder} holds the splits {', '.join(found)}, expected {EXPECTED}: give {folder / found[0]}")
    classes = found if classes is None else list(classes)
    if missing := [name for name in classes if name not in found]:
        raise FileNotFoundError(f"classes: {folder} has no sub-folder {', '.join(missing)}, it holds {contents(folder)}")
    files = [_images_below(folder / name) for name in classes]
    if empty := [name for name, inside in zip(classes, files, strict=True) if not inside]:
        raise FileNotFoundError(
            f"folder: no image in {folder / empty[0]}, expected files ending in {' '.join(SUFFIXES)}; classes=[...] leaves a sub-folder out"
        )
    labels = np.repeat(np.arange(len(classes)), [len(inside) for inside in files])
    return _ImageFolder([path for inside in files for path in inside], labels, classes)

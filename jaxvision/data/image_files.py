"""Sources of image files: the base of the readers of folders and lists, and how they recognize images and class folders."""

from collections.abc import Sequence

import numpy as np

from jaxvision.data.decoding import Choose, decode, decode_part
from jaxvision.data.paths import listed
from jaxvision.data.storage import Files

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".avif"),
)


class ImageFiles:
    """A source of image files and their labels; an image is decoded when it is read."""

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
        """Example i with the resized part of its image that ``choose`` returns, see ``decode_part``."""
        return self._read(i, decode_part, choose)


def is_image(name: str) -> bool:
    """Whether a file's suffix is that of an image."""
    return name.lower().endswith(SUFFIXES)


def class_folders(files: Files) -> list[str]:
    """The names of the folders that may be classes, sorted."""
    return [name for name in files.folders if not name.startswith("__")]


def top_level(files: Files) -> str:
    """The first few folders at the top, or files if there are no folders, as text."""
    return listed([f"{name}/" for name in files.folders] or files.names)


def labelled_by_folder(files: Files, folders: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The images in the given folders, sorted by folder (in the given order) and path, and the number of the folder of each, [N] int64."""
    inside: dict[str, list[str]] = {name: [] for name in folders}
    for name in files.names:
        folder, slash, _ = name.partition("/")
        if slash and folder in inside and is_image(name):
            inside[folder].append(name)
    labels = np.repeat(np.arange(len(inside)), [len(names) for names in inside.values()])
    return [name for names in inside.values() for name in names], labels

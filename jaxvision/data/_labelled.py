"""``labelled``: labelled images from a folder or file of any layout with classes, without saying which layout it is."""

from pathlib import Path

from jaxvision.data.cropping import center_crops
from jaxvision.data.paths import existing
from jaxvision.data.readers.cifar import cifar, find_cifar
from jaxvision.data.readers.idx import find_idx, idx
from jaxvision.data.readers.image_folder import image_folder
from jaxvision.data.readers.npz import npz

_EXPECTED = "a folder of idx files, CIFAR or an image folder with train/ and val/, a .zip of such an image folder, or an .npz file"


def labelled(path: str | Path, size: int) -> tuple:
    """The sources (train, test) of labelled images at ``path``: idx files, CIFAR, an .npz file, or a folder or .zip of images.

    The images of a folder or .zip may differ in size. They are cut to the middle square of ``size`` pixels, after a resize of the short
    side to 8/7 of it. The layouts with images of one size are read as they are. ``jv.data.describe`` says what lies in a folder.

    Raises ValueError where ``path`` is None, FileNotFoundError where it does not exist, and what the reader of the layout raises.

    >>> import tempfile, numpy as np, jaxvision as jv
    >>> file, images = tempfile.mkdtemp() + "/gray.npz", np.zeros((4, 8, 8), np.uint8)
    >>> np.savez(file, x_train=images, y_train=[0, 1, 0, 1], x_test=images[:2], y_test=[0, 1])
    >>> train, test = jv.data.labelled(file, 8)
    >>> len(train), len(test), train[1]["image"].shape, int(train[1]["label"])
    (4, 2, (8, 8, 1), 1)
    """
    path = existing(path, "data", _EXPECTED)
    if path.suffix == ".npz":
        return npz(path, "train"), npz(path, "test")
    folder = path if path.is_dir() else path.parent
    if path.suffix.lower() != ".zip":
        if any(find_idx(folder, split, "images") for split in ("train", "test")):
            return idx(path, "train"), idx(path, "test")
        if find_cifar(folder):
            return cifar(path, "train"), cifar(path, "test")
    train, test = (image_folder(path, split) for split in ("train", "val"))
    return tuple(center_crops(source, size, resize=size * 8 // 7) for source in (train, test))

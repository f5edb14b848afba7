"""Reader of idx files, the format of MNIST, Fashion-MNIST and KMNIST."""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision import checks
from jaxvision.data.paths import contents, existing_folder
from jaxvision.data.source import Source, arrays

EXPECTED = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each with or without .gz"
_PREFIX = {"train": "train", "test": "t10k"}


def find_idx(folder: Path, split: str, kind: str) -> Path | None:
    """The idx file with the "images" or "labels" (``kind``) of a split in a folder, or None."""
    rank = {"images": 3, "labels": 1}[kind]
    stems = (f"{_PREFIX[split]}-{kind}{joint}idx{rank}-ubyte" for joint in "-.")
    return next((folder / name for stem in stems for name in (stem, f"{stem}.gz") if (folder / name).is_file()), None)


def _read_idx(path: Path, rank: int) -> np.ndarray:
    """Read an idx file of bytes: two zeros, type, rank, the sizes as big-endian 32-bit integers, then the bytes, row-major."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: damaged or truncated gzip file ({error})") from error
    if content[:4] != bytes((0, 0, 8, rank)) or len(content) < 4 + 4 * rank:
        found = content[:4].hex(" ") or "nothing"
        raise ValueError(f"{path}: begins with {found}, expected 00 00 08 0{rank}, an idx file of unsigned bytes of rank {rank}")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", rank, offset=4))
    found, expected = len(content) - 4 - 4 * rank, int(np.prod(shape, dtype=np.int64))
    if found != expected:
        raise ValueError(f"{path}: truncated or damaged: found {found} bytes after the header, expected {expected} for shape {shape}")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def idx(folder: str | Path, split: str, *, classes: Sequence[str] | None = None) -> Source:
    """MNIST-style idx files in ``folder``, gzipped or not: images [H, W, 1] uint8.

    ``split``: "train" or "test" (the t10k files). ``classes``: names instead of "0", ..., "9".
    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits, 1998.

    Raises FileNotFoundError if a file is missing, ValueError if one is damaged or the numbers of images and labels differ.

    >>> import pathlib, tempfile
    >>> import jaxvision as jv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     images, labels = (pathlib.Path(folder, f"train-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    ...     _ = images.write_bytes(bytes([0, 0, 8, 3, *(0, 0, 0, 1) * 3, 255])), labels.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 7]))
    ...     print(jv.data.idx(folder, "train")[0])
    {'image': array([[[255]]], dtype=uint8), 'label': 7}
    """
    checks.one_of("split", split, _PREFIX)
    folder = existing_folder(folder, "folder", EXPECTED)
    parts = {}
    for kind, rank in (("images", 3), ("labels", 1)):
        path = find_idx(folder, split, kind)
        if path is None:
            expected = f"{_PREFIX[split]}-{kind}-idx{rank}-ubyte or the same with .gz"
            raise FileNotFoundError(f"folder: {folder} contains {contents(folder)}, expected {expected}")
        parts[kind] = _read_idx(path, rank)
    if len(parts["images"]) != len(parts["labels"]):
        found = " and ".join(f"{len(part)} {kind}" for kind, part in parts.items())
        raise ValueError(f"{folder}: found {found} for {split!r}, expected the same number of both")
    count = max(10, int(parts["labels"].max(initial=0)) + 1)
    return arrays(parts["images"], parts["labels"], classes=classes or [str(number) for number in range(count)])

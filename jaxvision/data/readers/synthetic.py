"""Synthetic images with known labels, for tests, smoke runs and benchmarks without data."""

import numpy as np

from jaxvision import checks
from jaxvision.data._order import hashes
from jaxvision.data.source import Source

_CELLS = 4  # a class is a coarse pattern of 4 x 4 cells


class _Synthetic:
    """A pattern for each class plus noise, in integer arithmetic, so that all machines give the same pixels."""

    def __init__(self, count: int, image_shape: tuple[int, int, int], num_classes: int, seed: int):
        height, width, channels = image_shape
        self.count, self.image_shape, self.seed = count, image_shape, seed
        self.classes = [str(number) for number in range(num_classes)]
        self.labels = np.arange(count, dtype=np.int64) % num_classes
        cells = np.stack([hashes(_CELLS * _CELLS * channels, 0, number) for number in range(num_classes)])
        cells = (cells >> np.uint64(56)).reshape(num_classes, _CELLS, _CELLS, channels)  # [K, 4, 4, C]
        row, column = np.arange(height) * _CELLS // height, np.arange(width) * _CELLS // width
        self.patterns = cells[:, row[:, None], column].astype(np.uint16)  # [K, H, W, C]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict:
        i = range(self.count)[i]
        words = hashes(-(-int(np.prod(self.image_shape)) // 8), self.seed, i)
        noise = words.astype("<u8").view(np.uint8)[: np.prod(self.image_shape)].reshape(self.image_shape)  # [H, W, C]
        label = int(self.labels[i])
        return {"image": ((self.patterns[label] + noise) // 2).astype(np.uint8), "label": label}


def synthetic(count: int, *, image_shape: tuple[int, int, int] = (32, 32, 3), num_classes: int = 10, seed: int = 0) -> Source:
    """``count`` random images [H, W, C] uint8 that a model can classify: the mean of a coarse class pattern and noise.

    Example i is a pure function of (seed, i) and has the label i mod num_classes. The patterns do not depend on ``seed``: another seed
    gives other images of the same classes, for validation. Raises ValueError for sizes below 1.

    >>> import jaxvision as jv
    >>> source = jv.data.synthetic(20, image_shape=(8, 8, 1), num_classes=5)
    >>> source[7]["image"].shape, source[7]["label"]
    ((8, 8, 1), 2)
    """
    if len(image_shape) != 3:
        raise ValueError(f"image_shape: found {image_shape}, expected (height, width, channels)")
    for name, value in (("count", count), ("num_classes", num_classes), ("image_shape", min(image_shape))):
        checks.integer(name, value)
    return _Synthetic(count, tuple(image_shape), num_classes, seed)

"""Reader of .npz files with the keys of MedMNIST or Keras."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision import checks
from jaxvision.data.paths import existing_file, unreadable
from jaxvision.data.source import Source, arrays

EXPECTED = "an .npz file with train_images and train_labels (MedMNIST), or x_train and y_train (Keras)"
_KEYS = (("{}_images", "{}_labels"), ("x_{}", "y_{}"))


def npz(file: str | Path, split: str, *, classes: Sequence[str] | None = None) -> Source:
    """The arrays of an .npz file with the keys train_images and train_labels (MedMNIST) or x_train and y_train (Keras).

    ``split``: "train", "val" or "test". Images are [N, H, W, C] or [N, H, W]; labels are integers [N] or [N, 1], or several at once [N, K].
    ``classes``: their names, by default "0", "1", ... Nothing is unpickled.

    Raises FileNotFoundError or PermissionError; ValueError if the file is damaged or lacks the split.

    >>> import numpy as np, tempfile
    >>> import jaxvision as jv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/a.npz", x_train=np.zeros((2, 8, 8), np.uint8), y_train=[0, 1])
    ...     print(len(jv.data.npz(f"{folder}/a.npz", "train")))
    2
    """
    checks.one_of("split", split, ("train", "val", "test"))
    file = existing_file(file, "file", EXPECTED)
    pairs = [tuple(key.format(split) for key in style) for style in _KEYS]
    try:
        with np.load(file, allow_pickle=False) as members:
            names = list(members)
            loaded = next(([members[key] for key in pair] for pair in pairs if set(pair) <= set(names)), None)
    except PermissionError as error:
        raise unreadable("file", file, error) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file}: damaged, truncated or not an .npz file of plain arrays ({reason}), expected {EXPECTED}") from error
    if loaded is None:
        expected = " or ".join(" and ".join(pair) for pair in pairs)
        raise ValueError(f"{file}: found {', '.join(names) or 'no arrays'}, expected {expected}")
    images, labels = loaded
    return arrays(images, labels, classes=classes)

"""Reader for .npz files with the keys of MedMNIST or Keras."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.data.checking import one_of
from jaxvision.data.paths import existing_file, unreadable
from jaxvision.data.source import arrays

EXPECTED = "an .npz file with train_images and train_labels (MedMNIST), or x_train and y_train (Keras)"
_STYLES = (("{}_images", "{}_labels"), ("x_{}", "y_{}"))


def npz(file: str | Path, split: str, *, classes: Sequence[str] | None = None):
    """The arrays of an .npz file: train_images / train_labels (MedMNIST) or x_train / y_train (Keras); ``split`` "train", "val" or "test".

    Images [N, H, W, C] or [N, H, W]; labels [N] or [N, 1] integers, or several at once [N, K], which stay vectors. Nothing is unpickled.
    Raises FileNotFoundError; PermissionError; ValueError when the file is damaged or lacks the split.
    """
    one_of("split", split, ("train", "val", "test"))
    file = existing_file(file, "file", EXPECTED)
    pairs = [tuple(key.format(split) for key in style) for style in _STYLES]
    try:
        with np.load(file, allow_pickle=False) as members:
            names = list(members)
            loaded = next(([members[key] for key in pair] for pair in pairs if set(pair) <= set(names)), None)
    except PermissionError as error:
        raise unreadable("file", file, error) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file}: damaged, truncated or no .npz of plain arrays ({reason}), expected {EXPECTED}") from error
    if loaded is None:
        expected = " or ".join(" and ".join(pair) for pair in pairs)
        raise ValueError(f"{file}: found {', '.join(names) or 'no arrays'}, expected {expected}")
    images, labels = loaded
    return arrays(images, labels, classes=classes)

"""Reader of CIFAR-10 and CIFAR-100, python and binary versions, unpacked or as the archive."""

import io
import pickle
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvision import checks
from jaxvision.data.paths import contents, existing
from jaxvision.data.source import Source, arrays

EXPECTED = "cifar-10-batches-py, cifar-100-python, cifar-10-batches-bin or cifar-100-binary, as a folder or a .tar.gz archive"
_PIXELS = 3 * 32 * 32


class _Layout(NamedTuple):
    """One of the four published forms of the data set."""

    files: dict[str, list[str]]  # by split
    labels: dict[str, str]  # "fine" or "coarse": the key of the labels (python) or their byte in a record (binary)
    classes: dict[str, str]  # "fine" or "coarse": the key (python) or file (binary) of the class names
    meta: str = ""  # the file of class names of python versions

    @property
    def markers(self) -> list[str]:
        """Files by which the layout is recognized; one of them is enough."""
        return self.files["train"] + self.files["test"]


_LAYOUTS = {
    "cifar-10-batches-py": _Layout(
        {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]},
        {"fine": "labels"},
        {"fine": "label_names"},
        "batches.meta",
    ),
    "cifar-10-batches-bin": _Layout(
        {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]},
        {"fine": "0"},
        {"fine": "batches.meta.txt"},
    ),
    "cifar-100-python": _Layout(
        {"train": ["train"], "test": ["test"]},
        {"coarse": "coarse_labels", "fine": "fine_labels"},
        {"coarse": "coarse_label_names", "fine": "fine_label_names"},
        "meta",
    ),
    "cifar-100-binary": _Layout(
        {"train": ["train.bin"], "test": ["test.bin"]},
        {"coarse": "0", "fine": "1"},
        {"coarse": "coarse_label_names.txt", "fine": "fine_label_names.txt"},
    ),
}


_ARRAY = np.empty(0).__reduce__()[0]  # numpy's constructor, which has moved between modules
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _ARRAY,
    ("numpy._core.multiarray", "_reconstruct"): _ARRAY,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),  # bytes, as Python 3 pickles them for Python 2
}


class _ArraysOnly(pickle.Unpickler):
    """Unpickles lists, dicts, strings and numpy arrays and refuses everything else, because a pickle can run any code."""

    def find_class(self, module: str, name: str):
        """The constructors of arrays. Raises UnpicklingError for anything else."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it imports {module}.{name}, which no CIFAR file needs")
        return _ALLOWED[module, name]


def _unpickle(name: str, content: bytes) -> dict:
    try:
        table = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
        return {key.decode() if isinstance(key, bytes) else key: value for key, value in table.items()}
    except Exception as error:  # a damaged pickle raises almost anything
        raise ValueError(f"{name}: damaged, truncated or not a CIFAR file ({' '.join(str(error).split())})") from error


def _read_python(name: str, content: bytes, key: str) -> tuple[np.ndarray, np.ndarray]:
    table = _unpickle(name, content)
    if not {"data", key} <= set(table):
        raise ValueError(f"{name}: found {', '.join(map(str, table)) or 'nothing'}, expected data and {key}")
    pixels, labels = np.asarray(table["data"]), np.asarray(table[key])
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), _PIXELS):
        found = f"data {pixels.dtype} {pixels.shape} for {len(labels)} labels"
        raise ValueError(f"{name}: found {found}, expected uint8 ({len(labels)}, {_PIXELS})")
    return pixels, labels


def _read_binary(name: str, content: bytes, place: int, kinds: int) -> tuple[np.ndarray, np.ndarray]:
    size = kinds + _PIXELS
    if not content or len(content) % size:
        raise ValueError(f"{name}: found {len(content)} bytes, expected a multiple of {size} (a record); the file is truncated or damaged")
    records = np.frombuffer(content, np.uint8).reshape(-1, size)  # [N, kinds + 3072]
    return records[:, kinds:], records[:, place]


def _read_classes(files: Mapping, layout: _Layout, kind: str, where: Path) -> list[str]:
    name = layout.meta or layout.classes[kind]
    if name not in files:
        raise FileNotFoundError(f"{where}: {name} (the names of the classes) is missing, found {', '.join(sorted(files)) or 'nothing'}")
    if not layout.meta:
        return files[name]().decode().split()
    table = _unpickle(f"{where}: {name}", files[name]())
    if layout.classes[kind] not in table:
        raise ValueError(f"{where}: {name} holds {', '.join(map(str, table)) or 'nothing'}, expected {layout.classes[kind]}")
    return [value.decode() if isinstance(value, bytes) else value for value in table[layout.classes[kind]]]


def _recognize(names) -> _Layout | None:
    return next((layout for layout in _LAYOUTS.values() if set(layout.markers) & set(names)), None)


def _files_of_archive(archive: Path) -> dict:
    """{file name: function that returns its bytes} of a tar archive."""
    known = {name for layout in _LAYOUTS.values() for name in (*layout.markers, layout.meta, *layout.classes.values())}
    try:
        with tarfile.open(archive) as members:
            found = {Path(member.name).name: member for member in members if member.isfile()}
            loaded = {name: members.extractfile(member).read() for name, member in found.items() if name in known}
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{archive}: damaged, truncated or not a tar archive ({error}), expected {EXPECTED}") from error
    return {name: (lambda content=content: content) for name, content in loaded.items()}


def _files_of_folder(folder: Path) -> dict:
    return {path.name: path.read_bytes for path in folder.iterdir() if path.is_file()}


def find_cifar(folder: Path) -> Path | None:
    """The folder or archive with CIFAR files: ``folder``, one of its folders or archives, or None."""
    places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    unpacked = (place for place in places if _recognize(_files_of_folder(place)))
    return next(unpacked, None) or next((path for path in sorted(folder.glob("cifar-*.tar*")) if path.is_file()), None)


def cifar(folder: str | Path, split: str, *, coarse: bool = False) -> Source:
    """CIFAR-10 or CIFAR-100, images [32, 32, 3] uint8.

    ``folder``: the unpacked python or binary version, a folder that contains it, or the .tar.gz archive. ``split``: "train" or "test".
    ``coarse``: the 20 superclasses of CIFAR-100 instead of its 100 classes. The unpickler can create nothing but plain values and arrays.
    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.

    Raises FileNotFoundError if a file is missing, ValueError if one is damaged.

    >>> import pathlib, tempfile
    >>> import jaxvision as jv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pathlib.Path(folder, "test_batch.bin").write_bytes(bytes([1] + [0] * 3072))
    ...     _ = pathlib.Path(folder, "batches.meta.txt").write_text("airplane automobile")
    ...     print(jv.data.cifar(folder, "test").labels)
    [1]
    """
    checks.one_of("split", split, ("train", "test"))
    folder = existing(folder, "folder", EXPECTED)
    where = find_cifar(folder) if folder.is_dir() else folder
    files = {} if where is None else _files_of_folder(where) if where.is_dir() else _files_of_archive(where)
    layout = _recognize(files)
    if layout is None:
        found = f"contains {contents(folder)}" if folder.is_dir() else "is an archive without CIFAR files"
        raise FileNotFoundError(f"folder: {folder} {found}, expected {EXPECTED}")
    kind = "coarse" if coarse else "fine"
    if kind not in layout.labels:
        raise ValueError(f"coarse: {where} is CIFAR-10, which has no superclasses, expected CIFAR-100")
    missing = [name for name in layout.files[split] if name not in files]
    if missing:
        raise FileNotFoundError(f"{where}: {', '.join(missing)} missing, expected {', '.join(layout.files[split])} for {split!r}")
    parts = []
    for name in layout.files[split]:
        path, content, label = f"{where}: {name}", files[name](), layout.labels[kind]
        parts.append(_read_python(path, content, label) if layout.meta else _read_binary(path, content, int(label), len(layout.labels)))
    pixels, labels = (np.concatenate(rows) for rows in zip(*parts, strict=True))
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # [N, 32, 32, 3]
    return arrays(np.ascontiguousarray(images), labels, classes=_read_classes(files, layout, kind, where))

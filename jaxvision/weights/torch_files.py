"""Read and write PyTorch's checkpoint files, zip archives and older pickles, without torch."""

import io
import re
import struct
import sys
import zipfile
from typing import Any

import numpy as np

from jaxvision.weights.arrays import BY_DTYPE, BY_STORAGE, BY_TORCH, NUMPY, contiguous, integers, view
from jaxvision.weights.errors import BrokenFile, check_size
from jaxvision.weights.unpickling import Global, Unpickler
from jaxvision.weights.zips import Archive

_MAGIC = 0x1950A86A20F9469CFC6C  # the first object of an older file


class Storage:
    """The memory of one or more tensors. Older files hold it after the pickle."""

    def __init__(self, dtype: np.dtype, key: str, count: int):
        self.dtype, self.key, self.count = dtype, key, count
        self.data: Any = None

    def flat(self, dtype: np.dtype) -> np.ndarray:
        """The storage as an array [n] of ``dtype``; the storage itself may be untyped bytes."""
        what = f"storage {self.key[:80]!r}"
        if self.data is None:
            raise BrokenFile(f"{what} is not in the file")
        size = self.count * self.dtype.itemsize
        check_size(size, len(self.data), what)
        return contiguous(self.data[: size - size % dtype.itemsize], dtype, (size // dtype.itemsize,), what)


class Tensor:
    """A tensor as the pickle describes it: a storage, an offset, a shape and strides."""

    def __init__(self, storage: Storage, offset: int, shape: Any, strides: Any, dtype: np.dtype | None = None):
        if type(storage) is not Storage:
            raise BrokenFile(f"a tensor refers to a {type(storage).__name__}, expected a storage")
        self.storage, self.dtype = storage, dtype or storage.dtype
        self.shape, self.strides = integers(shape, "a tensor's shape"), integers(strides, "a tensor's strides")
        (self.offset,) = integers((offset,), "a tensor's offset")

    def array(self, name: str) -> np.ndarray:
        """The tensor as an array over its storage; ``name`` is for error messages."""
        return view(self.storage.flat(self.dtype), self.offset, self.shape, self.strides, name[:200])


class Record:
    """A placeholder for an object that weights do not need; its content is discarded."""

    def __init__(self, *_: Any):
        pass

    def restore(self, _state: Any) -> None:
        """Discard the state."""


class NumpyType:
    """A numpy number type; the pickle sets its byte order as the state."""

    def __init__(self, name: Any, *_: Any):
        if type(name) is not str or not NUMPY.fullmatch(name):
            raise BrokenFile("the pickle has a numpy type that is not a number type")
        self.dtype = np.dtype(name)

    def restore(self, state: Any) -> None:
        """Set the byte order; the name gives the rest."""
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class NumpyArray:
    """A numpy array, which is empty until its state is set."""

    def __init__(self, *_: Any):
        self.value = np.zeros(0)

    def restore(self, state: Any) -> None:
        """Set version, shape, type, order of the axes and content."""
        _, shape, kind, fortran, data = state
        shape = integers(shape, "a numpy array's shape")
        data = data.encode("latin-1") if isinstance(data, str) else data
        self.value = contiguous(data, kind.dtype, shape[::-1] if fortran else shape, "a numpy array")
        self.value = self.value.T if fortran else self.value

    def array(self, _name: str) -> np.ndarray:
        """The array itself."""
        return self.value


def _rebuild_v3(storage, offset, shape, strides, _grad, _hooks, dtype, *_) -> Tensor:
    return Tensor(storage, offset, shape, strides, BY_TORCH[dtype.name.removeprefix("torch.")])


def _rebuild_from_type(function, _kind, arguments, _state) -> Any:
    return function.call(*arguments)


def _encoded(text, _encoding="latin1") -> bytes:
    return text.encode("latin-1")


def _dictionary(pairs=()) -> dict:
    if type(pairs) is not tuple and type(pairs) is not list or any(type(key) is not str for key, _ in pairs):
        raise BrokenFile("the pickle makes a dictionary from something other than a list of names and values")
    return dict(pairs)


def _discarded(*_) -> dict:
    return {}


# What Lightning saves in addition to the weights (lightly, solo-learn): options, paths, configurations. All of it is discarded.
_LIGHTNING = {
    **{f"{where}.AttributeDict": _discarded for where in ("pytorch_lightning.utilities.parsing", "lightning_fabric.utilities.data")},
    **{f"{where}.AttributeDict": _discarded for where in ("lightning.fabric.utilities.data", "lightning.pytorch.utilities.parsing")},
    "collections.defaultdict": _discarded,
    **{f"pathlib.{kind}Path": Record for kind in ("Posix", "Windows", "PurePosix", "PureWindows")},
    **{
        f"omegaconf.{name}": Record
        for name in ("dictconfig.DictConfig", "listconfig.ListConfig", "base.ContainerMetadata", "base.Metadata")
    },
    **{f"omegaconf.nodes.{kind}Node": Record for kind in ("Any", "Boolean", "Float", "Integer", "String")},
}
_CALLS = {
    "torch._utils._rebuild_tensor": Tensor,
    "torch._utils._rebuild_tensor_v2": lambda storage, offset, shape, strides, *_: Tensor(storage, offset, shape, strides),
    "torch._utils._rebuild_tensor_v3": _rebuild_v3,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch.Size": lambda sizes=(): integers(sizes, "a size"),
    "torch.device": Record,
    "collections.OrderedDict": _dictionary,
    "argparse.Namespace": Record,
    **_LIGHTNING,
    "numpy.dtype": NumpyType,
    "_codecs.encode": _encoded,
    **{f"numpy.{core}.multiarray._reconstruct": NumpyArray for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": Record for core in ("core", "_core")},
}
_NAMES = (
    *(f"torch.{name}" for name in BY_STORAGE),
    *(f"torch.{name}" for name in BY_TORCH),
    *("torch.storage.UntypedStorage", "torch.UntypedStorage", "torch.Tensor", "torch.nn.parameter.Parameter", "numpy.ndarray"),
    *(
        "typing.Any",
        *(f"{where}.{kind}" for where in ("builtins", "__builtin__") for kind in ("dict", "list", "int", "float", "str", "bool")),
    ),
)
_ALLOWED = {name: Global(name) for name in _NAMES} | {name: Global(name, call) for name, call in _CALLS.items()}


class _Storages(dict):
    """{key: Storage}; a storage is created when the pickle first refers to it."""

    def __call__(self, identity) -> Storage:
        if type(identity) is not tuple or len(identity) < 5 or identity[0] != "storage" or type(identity[2]) is not str:
            raise BrokenFile("the pickle refers to an external object that is not a storage")
        _, kind, key, _, count, *rest = identity
        if any(part is not None for part in rest):
            raise BrokenFile(f"storage {key[:80]!r} is a part of another; save the file again with PyTorch 1.6 or later")
        (count,) = integers((count,), f"the length of storage {key[:80]!r}")
        dtype = BY_STORAGE.get(kind.name.removeprefix("torch."), np.dtype(np.uint8))
        known = self.setdefault(key, Storage(dtype, key, count))
        if (known.dtype, known.count) != (dtype, count):
            raise BrokenFile(f"storage {key[:80]!r} has two types or lengths")
        return known


def read_zip(archive: Archive) -> Any:
    """The content of the pickle in a zip archive, with ``Tensor`` objects in it. Raises BrokenFile."""
    root = next((name.removesuffix("data.pkl") for name in archive.members if re.fullmatch(r"[^/]+/data\.pkl", name)), None)
    if root is None:
        raise BrokenFile("the zip archive holds neither PyTorch's data.pkl nor numpy's arrays")
    order = bytes(archive.read(f"{root}byteorder")) if f"{root}byteorder" in archive.members else b"little"
    storages = _Storages()
    found = Unpickler(bytes(archive.read(f"{root}data.pkl")), _ALLOWED, storages).load()
    for storage in storages.values():
        storage.data = archive.read(f"{root}data/{storage.key}")
        storage.dtype = storage.dtype.newbyteorder(">") if order.strip() == b"big" else storage.dtype
    return found


def read_legacy(data: bytes) -> Any:
    """The content of an older file: magic number, version, system information, the object, the keys of the storages, the storages."""
    storages = _Storages()
    reader = Unpickler(data, _ALLOWED, storages)
    first = reader.load()
    if type(first) is not int or first != _MAGIC:
        return first  # a plain pickle, for example of numpy arrays
    reader.load()
    reader.load()
    found, keys, place = reader.load(), reader.load(), reader.place
    view = memoryview(data)
    for key in keys if type(keys) is list else ():
        if type(key) is not str or key not in storages:
            raise BrokenFile("the file lists a storage that no tensor uses")
        check_size(8, len(data) - place, f"storage {key[:80]!r}")
        (count,) = struct.unpack_from("<q", data, place)
        size = count * storages[key].dtype.itemsize
        check_size(size, len(data) - place - 8, f"storage {key[:80]!r}")
        if count != storages[key].count:
            raise BrokenFile(f"storage {key[:80]!r} has {count:,} numbers, expected {storages[key].count:,}")
        storages[key].data = view[place + 8 : place + 8 + size]
        place += 8 + size
    return found


def _pickle_text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _pickle_int(number: int) -> bytes:
    size = number.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + number.to_bytes(size, "little", signed=True)


def _pickle_tuple(numbers) -> bytes:
    return b"(" + b"".join(map(_pickle_int, numbers)) + b"t"


def _pickle_tensors(tensors: dict[str, np.ndarray]) -> bytes:
    """A pickle of a dictionary of tensors, with only the instructions that ``torch.load(weights_only=True)`` accepts."""
    parts = [b"\x80\x02}("]
    for key, (name, array) in enumerate(tensors.items()):
        storage = BY_DTYPE[array.dtype].storage
        steps = [1]
        for size in array.shape[:0:-1]:
            steps.append(steps[-1] * max(size, 1))
        strides = steps[::-1] if array.ndim else []
        parts += [_pickle_text(name), b"ctorch._utils\n_rebuild_tensor_v2\n((", _pickle_text("storage"), f"ctorch\n{storage}\n".encode()]
        parts += [
            _pickle_text(str(key)),
            _pickle_text("cpu"),
            _pickle_int(array.size),
            b"tQ",
            _pickle_int(0),
            _pickle_tuple(array.shape),
            _pickle_tuple(strides),
        ]
        parts += [b"\x89ccollections\nOrderedDict\n)RtR"]
    return b"".join([*parts, b"u."])


def write_zip(tensors: dict[str, np.ndarray]) -> bytes:
    """The content of a checkpoint file with ``tensors``. Raises ValueError for a number type that PyTorch does not have."""
    unsupported = [
        f"{name} ({array.dtype})" for name, array in tensors.items() if array.dtype not in BY_DTYPE or not BY_DTYPE[array.dtype].storage
    ]
    if unsupported:
        raise ValueError(f"tensors: PyTorch's files cannot hold {', '.join(unsupported[:5])}; .safetensors may")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        members = {"data.pkl": _pickle_tensors(tensors), "byteorder": sys.byteorder.encode(), "version": b"3\n"}
        members |= {f"data/{key}": np.ascontiguousarray(array).tobytes() for key, array in enumerate(tensors.values())}
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)
    return buffer.getvalue()

"""PyTorch's checkpoint files, zip archives and the older pickles, read and written without torch."""

import io
import re
import struct
import sys
import zipfile
from typing import Any

import numpy as np

from jaxvision.weights.arrays import BY_DTYPE, BY_STORAGE, BY_TORCH, NUMPY, dense, view, whole
from jaxvision.weights.errors import BrokenFile, bounded
from jaxvision.weights.unpickling import Global, Unpickler
from jaxvision.weights.zips import Archive

_MAGIC = 0x1950A86A20F9469CFC6C  # the first object of an older file


class Storage:
    """The numbers that one or more tensors lie in; older files hold them behind the pickle."""

    def __init__(self, dtype: np.dtype, key: str, count: int):
        self.dtype, self.key, self.count = dtype, key, count
        self.data: Any = None

    def flat(self, dtype: np.dtype) -> np.ndarray:
        """[n] of ``dtype``; the storage itself may be plain bytes."""
        what = f"storage {self.key[:80]!r}"
        if self.data is None:
            raise BrokenFile(f"{what} is not in the file")
        size = self.count * self.dtype.itemsize
        bounded(size, len(self.data), what)
        return dense(self.data[: size - size % dtype.itemsize], dtype, (size // dtype.itemsize,), what)


class Tensor:
    """A tensor as the pickle tells it: where it lies in which storage."""

    def __init__(self, storage: Storage, offset: int, shape, strides, dtype: np.dtype | None = None):
        if type(storage) is not Storage:
            raise BrokenFile(f"a tensor lies in a {type(storage).__name__}; expected a storage")
        self.storage, self.dtype = storage, dtype or storage.dtype
        self.shape, self.strides = whole(shape, "a tensor's shape"), whole(strides, "a tensor's strides")
        (self.offset,) = whole((offset,), "a tensor's offset")

    def array(self, name: str) -> np.ndarray:
        """The tensor of this name as an array over its storage."""
        return view(self.storage.flat(self.dtype), self.offset, self.shape, self.strides, name[:200])


class Record:
    """What stands for an object that weights do not need; nothing of it is kept."""

    def __init__(self, *_):
        pass

    def restore(self, _state) -> None:
        """Its state is left out."""


class NumpyType:
    """A numpy type of numbers; its byte order comes as a state."""

    def __init__(self, name, *_):
        if type(name) is not str or not NUMPY.fullmatch(name):
            raise BrokenFile("the pickle has a numpy type that is no type of numbers")
        self.dtype = np.dtype(name)

    def restore(self, state) -> None:
        """The byte order; the rest follows from the name."""
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class NumpyArray:
    """A numpy array, empty until its state comes."""

    def __init__(self, *_):
        self.value = np.zeros(0)

    def restore(self, state) -> None:
        """Version, shape, type, order of the axes, numbers."""
        _, shape, kind, fortran, data = state
        shape = whole(shape, "a numpy array's shape")
        data = data.encode("latin-1") if isinstance(data, str) else data
        self.value = dense(data, kind.dtype, shape[::-1] if fortran else shape, "a numpy array")
        self.value = self.value.T if fortran else self.value

    def array(self, _name: str) -> np.ndarray:
        """The array itself."""
        return self.value


def _third(storage, offset, shape, strides, _grad, _hooks, dtype, *_) -> Tensor:
    return Tensor(storage, offset, shape, strides, BY_TORCH[dtype.name.removeprefix("torch.")])


def _typed(function, _kind, given, _state) -> Any:
    return function.call(*given)


def _encoded(text, _encoding="latin1") -> bytes:
    return text.encode("latin-1")


def _dictionary(pairs=()) -> dict:
    if type(pairs) is not tuple and type(pairs) is not list or any(type(key) is not str for key, _ in pairs):
        raise BrokenFile("the pickle makes a dictionary of what is no list of names and values")
    return dict(pairs)


def _forgotten(*_) -> dict:
    return {}


# What Lightning saves beside the weights (lightly, solo-learn): options, paths, configurations. Nothing of it is kept.
_BESIDE = {
    **{f"{where}.AttributeDict": _forgotten for where in ("pytorch_lightning.utilities.parsing", "lightning_fabric.utilities.data")},
    **{f"{where}.AttributeDict": _forgotten for where in ("lightning.fabric.utilities.data", "lightning.pytorch.utilities.parsing")},
    "collections.defaultdict": _forgotten,
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
    "torch._utils._rebuild_tensor_v3": _third,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "torch._tensor._rebuild_from_type_v2": _typed,
    "torch.Size": lambda sizes=(): whole(sizes, "a size"),
    "torch.device": Record,
    "collections.OrderedDict": _dictionary,
    "argparse.Namespace": Record,
    **_BESIDE,
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
    """{key: Storage}, made as the pickle names them."""

    def __call__(self, identity) -> Storage:
        if type(identity) is not tuple or len(identity) < 5 or identity[0] != "storage" or type(identity[2]) is not str:
            raise BrokenFile("the pickle refers to something outside it that is no storage")
        _, kind, key, _, count, *rest = identity
        if any(part is not None for part in rest):
            raise BrokenFile(f"storage {key[:80]!r} is a part of another; save the file anew with a PyTorch of 1.6 or later")
        (count,) = whole((count,), f"the length of storage {key[:80]!r}")
        dtype = BY_STORAGE.get(kind.name.removeprefix("torch."), np.dtype(np.uint8))
        known = self.setdefault(key, Storage(dtype, key, count))
        if (known.dtype, known.count) != (dtype, count):
            raise BrokenFile(f"storage {key[:80]!r} has two types or lengths")
        return known


def read_zip(archive: Archive) -> Any:
    """What a zip archive's pickle holds, with Tensors in it. Raises BrokenFile."""
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
    """What an older file holds: magic number, version, facts about the machine, the object, the storages' keys, their numbers."""
    storages = _Storages()
    reader = Unpickler(data, _ALLOWED, storages)
    first = reader.load()
    if type(first) is not int or first != _MAGIC:
        return first  # a plain pickle, of numpy arrays for example
    reader.load()
    reader.load()
    found, keys, place = reader.load(), reader.load(), reader.place
    view = memoryview(data)
    for key in keys if type(keys) is list else ():
        if type(key) is not str or key not in storages:
            raise BrokenFile("the file lists a storage that no tensor lies in")
        bounded(8, len(data) - place, f"storage {key[:80]!r}")
        (count,) = struct.unpack_from("<q", data, place)
        size = count * storages[key].dtype.itemsize
        bounded(size, len(data) - place - 8, f"storage {key[:80]!r}")
        if count != storages[key].count:
            raise BrokenFile(f"storage {key[:80]!r} has {count:,} numbers, expected {storages[key].count:,}")
        storages[key].data = view[place + 8 : place + 8 + size]
        place += 8 + size
    return found


def _text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _whole(number: int) -> bytes:
    size = number.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + number.to_bytes(size, "little", signed=True)


def _tuple(numbers) -> bytes:
    return b"(" + b"".join(map(_whole, numbers)) + b"t"


def _pickled(tensors: dict[str, np.ndarray]) -> bytes:
    """A dictionary of tensors in the instructions that ``torch.load(weights_only=True)`` takes."""
    parts = [b"\x80\x02}("]
    for key, (name, array) in enumerate(tensors.items()):
        storage = BY_DTYPE[array.dtype].storage
        steps = [1]
        for size in array.shape[:0:-1]:
            steps.append(steps[-1] * max(size, 1))
        strides = steps[::-1] if array.ndim else []
        parts += [_text(name), b"ctorch._utils\n_rebuild_tensor_v2\n((", _text("storage"), f"ctorch\n{storage}\n".encode()]
        parts += [_text(str(key)), _text("cpu"), _whole(array.size), b"tQ", _whole(0), _tuple(array.shape), _tuple(strides)]
        parts += [b"\x89ccollections\nOrderedDict\n)RtR"]
    return b"".join([*parts, b"u."])


def written(tensors: dict[str, np.ndarray]) -> bytes:
    """A checkpoint file that holds ``tensors``. Raises ValueError for a type that has no storage in PyTorch."""
    odd = [f"{name} ({array.dtype})" for name, array in tensors.items() if array.dtype not in BY_DTYPE or not BY_DTYPE[array.dtype].storage]
    if odd:
        raise ValueError(f"tensors: PyTorch's files cannot hold {', '.join(odd[:5])}; .safetensors may")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        members = {"data.pkl": _pickled(tensors), "byteorder": sys.byteorder.encode(), "version": b"3\n"}
        members |= {f"data/{key}": np.ascontiguousarray(array).tobytes() for key, array in enumerate(tensors.values())}
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)
    return buffer.getvalue()

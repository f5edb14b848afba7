"""Read and write safetensors and numpy's npz."""

import io
import json
import re
import struct
import zipfile

import numpy as np

from jaxvision.weights.arrays import BY_DTYPE, BY_SAFETENSORS, NUMPY, contiguous, integers
from jaxvision.weights.errors import BrokenFile, check_size
from jaxvision.weights.zips import Archive

_MAX_SAFETENSORS_HEADER = 100_000_000  # bytes; safetensors' own limit
_MAX_NPY_HEADER = 65_535  # bytes; more than any array without named fields needs
_NPY_HEADER = re.compile(rb"\{'descr': '([^']{1,20})', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\),? *\}[ \n]*")


def _unique_keys(pairs: list) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BrokenFile("the header has a key twice")
    return found


def read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    """Arrays by name. The file: length of the header, header (JSON: type, shape and offsets), data. Raises BrokenFile."""
    check_size(8, len(data), "the length of the header")
    (length,) = struct.unpack_from("<Q", data)
    check_size(length, min(len(data) - 8, _MAX_SAFETENSORS_HEADER), "the header")
    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        if isinstance(error, BrokenFile):
            raise
        raise BrokenFile(f"the header is not JSON: {str(error)[:100]}") from None
    if type(header) is not dict:
        raise BrokenFile("the header is not a JSON object")
    numbers, found, places = memoryview(data)[8 + length :], {}, []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if type(entry) is not dict or type(entry.get("dtype")) is not str or entry["dtype"] not in BY_SAFETENSORS:
            raise BrokenFile(f"{name[:200]!r} has no known type; known are {', '.join(BY_SAFETENSORS)}")
        place = integers(entry.get("data_offsets"), f"the place of {name[:200]!r}")
        if len(place) != 2 or place[0] > place[1]:
            raise BrokenFile(f"the place of {name[:200]!r} is {list(place)}; expected begin and end")
        check_size(place[1], len(numbers), repr(name[:200]))
        shape = integers(entry.get("shape"), f"the shape of {name[:200]!r}")
        found[name] = contiguous(numbers[place[0] : place[1]], BY_SAFETENSORS[entry["dtype"]], shape, repr(name[:200]))
        places.append(place)
    places.sort()
    if any(before[1] > after[0] for before, after in zip(places, places[1:])):
        raise BrokenFile("two arrays overlap")
    return found


def write_safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    """The content of a file with ``tensors``, wide types first so that all are aligned. Raises ValueError for an unknown type."""
    header, parts, place = {}, [], 0
    for name, array in sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        kind = BY_DTYPE.get(array.dtype)
        if kind is None or not kind.safetensors:
            raise ValueError(f"tensors: safetensors cannot hold {name} ({array.dtype})")
        header[name] = {"dtype": kind.safetensors, "shape": list(array.shape), "data_offsets": [place, place + array.nbytes]}
        parts.append(np.ascontiguousarray(array).tobytes())
        place += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def _array(data, name: str) -> np.ndarray:
    """One .npy file: magic, version, length of the header, header, data."""
    what = repr(name[:200])
    start = {b"\x93NUMPY\x01": 10, b"\x93NUMPY\x02": 12}.get(bytes(data[:7]), 8)
    length = int.from_bytes(data[8:start], "little")
    check_size(length, min(len(data) - start, _MAX_NPY_HEADER), f"the header of {what}")
    header = _NPY_HEADER.fullmatch(bytes(data[start : start + length]))
    if header is None:
        raise BrokenFile(f"{what} does not have numpy's header of an array")
    kind, fortran, axes = (part.decode("latin-1") for part in header.groups())
    if not NUMPY.fullmatch(kind):
        raise BrokenFile(f"{what} holds {kind!r}, expected numbers; nothing was run")
    try:
        dtype, shape = np.dtype(kind), tuple(int(axis) for axis in axes.replace(",", " ").split())
    except (TypeError, ValueError):
        raise BrokenFile(f"{what} has an invalid type {kind!r} or shape ({axes[:200]})") from None
    shape = integers(shape, f"the shape of {what}")
    array = contiguous(data[start + length :], dtype, shape[::-1] if fortran == "True" else shape, what)
    return array.T if fortran == "True" else array


def read_npz(archive: Archive) -> dict[str, np.ndarray]:
    """Arrays by name. Raises BrokenFile."""
    return {name.removesuffix(".npy"): _array(archive.read(name), name) for name in archive.members if name.endswith(".npy")}


def write_npz(tensors: dict[str, np.ndarray]) -> bytes:
    """The content of a file with ``tensors``. Raises ValueError for types that numpy itself does not have."""
    unsupported = [f"{name} ({array.dtype})" for name, array in tensors.items() if array.dtype.kind not in "biufc"]
    if unsupported:
        raise ValueError(f"tensors: npz cannot hold {', '.join(unsupported[:5])}; .safetensors can")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in tensors.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
            archive.writestr(f"{name}.npy", content.getvalue())
    return buffer.getvalue()

"""Types of numbers by the names that files give them, and arrays over bytes that were read."""

import math
import re
from typing import NamedTuple

import ml_dtypes
import numpy as np

from jaxvision.weights.errors import BrokenFile, bounded


class Type(NamedTuple):
    """One type of numbers: numpy's, PyTorch's storage class and dtype, safetensors' name ("": it has none)."""

    dtype: np.dtype
    storage: str
    torch: str
    safetensors: str


TYPES = tuple(
    Type(np.dtype(dtype), storage and f"{storage}Storage", torch, name)
    for dtype, storage, torch, name in (
        (np.float64, "Double", "float64", "F64"),
        (np.float32, "Float", "float32", "F32"),
        (np.float16, "Half", "float16", "F16"),
        (ml_dtypes.bfloat16, "BFloat16", "bfloat16", "BF16"),
        (ml_dtypes.float8_e4m3fn, "", "float8_e4m3fn", "F8_E4M3"),
        (ml_dtypes.float8_e5m2, "", "float8_e5m2", "F8_E5M2"),
        (np.complex64, "ComplexFloat", "complex64", "C64"),
        (np.complex128, "ComplexDouble", "complex128", ""),
        (np.int64, "Long", "int64", "I64"),
        (np.int32, "Int", "int32", "I32"),
        (np.int16, "Short", "int16", "I16"),
        (np.int8, "Char", "int8", "I8"),
        (np.uint8, "Byte", "uint8", "U8"),
        (np.uint16, "", "uint16", "U16"),
        (np.uint32, "", "uint32", "U32"),
        (np.uint64, "", "uint64", "U64"),
        (np.bool_, "Bool", "bool", "BOOL"),
    )
)
BY_STORAGE = {entry.storage: entry.dtype for entry in TYPES if entry.storage}
BY_TORCH = {entry.torch: entry.dtype for entry in TYPES}
BY_SAFETENSORS = {entry.safetensors: entry.dtype for entry in TYPES if entry.safetensors}
BY_DTYPE = {entry.dtype: entry for entry in TYPES}
NUMPY = re.compile(r"[<>|=]?[biufc]\d{1,2}")  # numpy's names for types of numbers
_MOST_AXES = 32


def whole(numbers, what: str) -> tuple[int, ...]:
    """A shape, strides or the like as a tuple. Raises BrokenFile for anything but a few whole numbers of zero or more."""
    good = isinstance(numbers, (tuple, list)) and len(numbers) <= _MOST_AXES
    if not good or any(type(number) is not int or not 0 <= number < 2**62 for number in numbers):
        raise BrokenFile(f"{what}: found a {type(numbers).__name__}, expected at most {_MOST_AXES} whole numbers")
    return tuple(numbers)


def _empty(shape: tuple[int, ...], dtype: np.dtype, what: str) -> np.ndarray:
    try:
        return np.zeros(shape, dtype)
    except ValueError as error:  # the other axes are too long for numpy
        raise BrokenFile(f"{what}: {error}") from None


def dense(data, dtype: np.dtype, shape: tuple[int, ...], what: str) -> np.ndarray:
    """An array that fills ``data`` exactly, without a copy and read-only."""
    held, claimed = len(data), math.prod(shape) * dtype.itemsize
    bounded(claimed, held, what)
    if claimed != held:
        raise BrokenFile(f"{what}: {dtype} {list(shape)} are {claimed:,} bytes, found {held:,}")
    array = np.frombuffer(data, dtype).reshape(shape) if claimed else _empty(shape, dtype, what)
    array.flags.writeable = False
    return array


def view(flat: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], what: str) -> np.ndarray:
    """A tensor that lies in a storage [n] with any strides (in numbers, not bytes), without a copy and read-only."""
    if len(shape) != len(strides):
        raise BrokenFile(f"{what}: shape {list(shape)} and strides {list(strides)} differ in length")
    if 0 in shape:
        return _empty(shape, flat.dtype, what)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    bounded((last + 1) * flat.itemsize, flat.nbytes, what)
    steps = tuple(stride * flat.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)

"""Number types by their names in files, and arrays over the bytes of a file."""

import math
import re
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from jaxvision.weights.errors import BrokenFile, check_size


class Type(NamedTuple):
    """One number type: its numpy dtype, PyTorch's storage class and dtype, and safetensors' name ("": the format lacks it)."""

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
NUMPY = re.compile(r"[<>|=]?[biufc]\d{1,2}")  # numpy's names of number types
_MAX_AXES = 32


def integers(numbers: Any, what: str) -> tuple[int, ...]:
    """A shape, strides or similar as a tuple. Raises BrokenFile for anything but at most 32 nonnegative integers."""
    valid = isinstance(numbers, (tuple, list)) and len(numbers) <= _MAX_AXES
    if not valid or any(type(number) is not int or not 0 <= number < 2**62 for number in numbers):
        raise BrokenFile(f"{what}: found a {type(numbers).__name__}, expected at most {_MAX_AXES} nonnegative integers")
    return tuple(numbers)


def _empty(shape: tuple[int, ...], dtype: np.dtype, what: str) -> np.ndarray:
    try:
        return np.zeros(shape, dtype)
    except ValueError as error:  # the other axes are too long for numpy
        raise BrokenFile(f"{what}: {error}") from None


def contiguous(data: bytes | memoryview, dtype: np.dtype, shape: tuple[int, ...], what: str) -> np.ndarray:
    """A read-only array over all of ``data``, without a copy. Raises BrokenFile if the sizes differ."""
    available, claimed = len(data), math.prod(shape) * dtype.itemsize
    check_size(claimed, available, what)
    if claimed != available:
        raise BrokenFile(f"{what}: {dtype} {list(shape)} needs {claimed:,} bytes, found {available:,}")
    array = np.frombuffer(data, dtype).reshape(shape) if claimed else _empty(shape, dtype, what)
    array.flags.writeable = False
    return array


def view(flat: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], what: str) -> np.ndarray:
    """A read-only view of a storage [n] with any strides (in elements, not bytes), without a copy."""
    if len(shape) != len(strides):
        raise BrokenFile(f"{what}: shape {list(shape)} and strides {list(strides)} differ in length")
    if 0 in shape:
        return _empty(shape, flat.dtype, what)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    check_size((last + 1) * flat.itemsize, flat.nbytes, what)
    steps = tuple(stride * flat.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)

"""The compiled kernels of the CPU: whether they were built, and how XLA finds them.

``python -m pip install`` builds them where there is a C++ compiler. Without them every function computes by its twin in JAX. Of the
environment, JAXVISION_NATIVE=0 leaves them aside, JAXVISION_INSTRUCTIONS ("avx512", "avx2", "portable") chooses what they are made of,
and JAXVISION_WINOGRAD=0 computes 3x3 convolutions as the sums they are: at half the speed, with half the rounding or less, and exact zeros.
Each is read once, at first use.
"""

import ctypes
import functools
import os
from pathlib import Path

import jax
import numpy as np

import jaxvision.kernels
from jaxvision.typing import Array

_LIBRARY = "libjaxvision_kernels.so"
_INSTRUCTIONS = ("avx512", "avx2", "portable")
_CONVOLUTIONS = [f"jaxvision_{kind}{of}" for kind in ("depthwise", "dense") for of in ("", "_image_gradient", "_kernel_gradient")]
_FUNCTIONS = [f"jaxvision_{name}{of}" for name in ("attention", "self_attention", "layer_norm") for of in ("", "_gradients")]
_PRODUCTS = [f"jaxvision_product{of}" for of in ("", "_rows_gradient", "_matrix_gradient")]
_SUMS = [f"jaxvision_{name}" for name in ("batch_moments", "batch_sums")]
_OTHERS = [f"jaxvision_{name}" for name in ("adam", "adam_average", "blur", "jitter", "pool", "pool_spread", "settle")]


@functools.cache
def library() -> ctypes.CDLL | None:
    """The shared library with its functions made known to XLA, or None where it was not built or is not wanted.

    Raises OSError where it cannot be loaded, or was built from older sources than these and lacks a function; ValueError where
    JAXVISION_INSTRUCTIONS names none of its sets of instructions, or one that this processor lacks.
    """
    if os.environ.get("JAXVISION_NATIVE") == "0":
        return None
    places = (Path(folder) / _LIBRARY for folder in jaxvision.kernels.__path__)  # of an editable install there are two
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return None
    found = ctypes.CDLL(str(path))
    try:
        functions = {name: getattr(found, name) for name in (*_CONVOLUTIONS, *_FUNCTIONS, *_PRODUCTS, *_SUMS, *_OTHERS)}
    except AttributeError as error:
        mend = "python -m pip install -e . builds it anew, JAXVISION_NATIVE=0 does without"
        raise OSError(f"the compiled kernels were built from older sources ({error}): {mend}") from None
    found.jaxvision_instructions.restype = ctypes.c_char_p
    named = os.environ.get("JAXVISION_INSTRUCTIONS")
    if named and named != found.jaxvision_instructions().decode():
        expected = f"one that this processor has, of {', '.join(_INSTRUCTIONS)}, or unset: the best one"
        raise ValueError(f"JAXVISION_INSTRUCTIONS: found {named!r}, expected {expected}")
    for name, function in functions.items():
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(function), platform="cpu")
    return found


def instructions() -> str | None:
    """What the kernels in use are made of: "avx512", "avx2" or "portable"; None where there are none."""
    found = library()
    return None if found is None else found.jaxvision_instructions().decode()


def present() -> bool:
    """Whether there are compiled kernels for what JAX computes on: a CPU, and they were built."""
    return jax.default_backend() == "cpu" and library() is not None


def wanted(*arrays: Array) -> bool:
    """Whether compiled kernels compute these arrays, which must be of float32."""
    return all(array.dtype == np.float32 for array in arrays) and present()


def as_rows(x: Array) -> Array:
    """x [..., C] as the matrix [N, C] that kernels of rows take."""
    return x.reshape(-1, x.shape[-1])


def call(target: str, shape: tuple[int, ...], *inputs: Array, **numbers: tuple[int, ...]) -> Array:
    """One call of a compiled kernel: a float32 array of this shape from ``inputs`` and integers by name."""
    result = jax.ShapeDtypeStruct(shape, np.float32)
    return jax.ffi.ffi_call(target, result)(*inputs, **{name: np.array(given, np.int64) for name, given in numbers.items()})

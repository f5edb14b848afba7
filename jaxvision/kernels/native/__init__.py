"""The compiled kernels of the CPU: whether they were built, and how XLA finds them.

``python -m pip install`` builds them where there is a C++ compiler. Without them every function computes by its reference implementation in
JAX. Environment variables, each read once at first use: JAXVISION_NATIVE=0 disables the compiled kernels, JAXVISION_INSTRUCTIONS ("avx512",
"avx2" or "portable") chooses the instruction set, and JAXVISION_WINOGRAD=0 computes 3x3 convolutions as plain sums: at half the speed, with
at most half the rounding error, and with exact zeros.
"""

import ctypes
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from jaxvision._public import set_public_names
from jaxvision.typing import Array

__all__ = ["as_rows", "available", "call", "instructions", "library", "present", "rows_available", "targets"]

_LIBRARY = "libjaxvision_kernels.so"
_INSTRUCTIONS = ("avx512", "avx2", "portable")
_CONVOLUTIONS = [f"jaxvision_{kind}{of}" for kind in ("depthwise", "dense") for of in ("", "_image_gradient", "_kernel_gradient")]
_DIFFERENTIABLE = [f"jaxvision_{name}{of}" for name in ("attention", "self_attention", "layer_norm") for of in ("", "_gradients")]
_PRODUCTS = [f"jaxvision_product{of}" for of in ("", "_rows_gradient", "_matrix_gradient")]
_OTHERS = [
    f"jaxvision_{name}"
    for name in ("adam", "adam_average", "barrier", "batch_moments", "batch_sums", "blur", "jitter", "pool", "pool_gradient")
]


def targets() -> list[str]:
    """The names of the functions that the library registers with XLA, the targets of custom calls.

    >>> from jaxvision.kernels import native
    >>> "jaxvision_barrier" in native.targets()
    True
    """
    return [*_CONVOLUTIONS, *_DIFFERENTIABLE, *_PRODUCTS, *_OTHERS]


@functools.cache
def library() -> ctypes.CDLL | None:
    """The shared library with its functions registered with XLA; None where it was not built or is disabled.

    Raises OSError where it cannot be loaded, or was built from older sources than these and lacks a function; ValueError where
    JAXVISION_INSTRUCTIONS is none of the known instruction sets, or one that this processor lacks.

    >>> from jaxvision.kernels import native
    >>> native.library() is native.library()
    True
    """
    if os.environ.get("JAXVISION_NATIVE") == "0":
        return None
    folders = sys.modules["jaxvision.kernels"].__path__  # an editable install has two
    places = (Path(folder) / _LIBRARY for folder in folders)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return None
    found = ctypes.CDLL(str(path))
    try:
        functions = {name: getattr(found, name) for name in targets()}
    except AttributeError as error:
        fix = "build it again by python -m pip install -e . or disable it by JAXVISION_NATIVE=0"
        raise OSError(f"the compiled kernels were built from older sources ({error}): {fix}") from None
    found.jaxvision_instructions.restype = ctypes.c_char_p
    named = os.environ.get("JAXVISION_INSTRUCTIONS")
    if named and named != found.jaxvision_instructions().decode():
        expected = f"one that this processor has, of {', '.join(_INSTRUCTIONS)}, or unset: the best one"
        raise ValueError(f"JAXVISION_INSTRUCTIONS: found {named!r}, expected {expected}")
    for name, function in functions.items():
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(function), platform="cpu")
    return found


def instructions() -> str | None:
    """The instruction set of the kernels in use: "avx512", "avx2" or "portable"; None where there are none.

    >>> from jaxvision.kernels import native
    >>> native.instructions() in ("avx512", "avx2", "portable", None)
    True
    """
    found = library()
    return None if found is None else found.jaxvision_instructions().decode()


def present() -> bool:
    """Whether programs for JAX's default device contain compiled kernels: it is a CPU, and they were built.

    >>> from jaxvision.kernels import native
    >>> native.present() in (True, False)
    True
    """
    return jax.default_backend() == "cpu" and library() is not None


def available(*arrays: Array, **options: object) -> bool:
    """Whether there are compiled kernels for these arrays: all are float32, not empty and of known shape, and the library was built.

    A dimension is not known in a program that is exported for any batch size (``jax.export.symbolic_shape``).

    >>> import jax.numpy as jnp
    >>> from jaxvision.kernels import native
    >>> native.available(jnp.ones(3, jnp.bfloat16))
    False
    """
    known = all(isinstance(extent, int) and extent > 0 for array in arrays for extent in array.shape)
    return known and all(array.dtype == np.float32 for array in arrays) and library() is not None


def rows_available(x: Array, *others: Array, **options: object) -> bool:
    """Whether there are compiled kernels for x [..., C] as rows, and for the other arrays.

    >>> import jax.numpy as jnp
    >>> from jaxvision.kernels import native
    >>> native.rows_available(jnp.ones(3))  # no rows
    False
    """
    return x.ndim > 1 and available(x, *others)


def as_rows(x: Array) -> Array:
    """x [..., C] as the matrix [N, C] that kernels of rows take.

    >>> import jax.numpy as jnp
    >>> from jaxvision.kernels import native
    >>> native.as_rows(jnp.ones((2, 3, 4))).shape
    (6, 4)
    """
    return x.reshape(-1, x.shape[-1])


def call(target: str, *shapes: tuple[int, ...], aliases: dict[int, int] | None = None, **attributes: float | tuple[int, ...]) -> Callable:
    """A compiled kernel as a function of arrays that lists float32 arrays of ``shapes``.

    ``attributes``: numbers, or tuples of integers, by name. ``aliases``: {argument: result written in its place}.

    >>> import jax.numpy as jnp
    >>> from jaxvision.kernels import native
    >>> x, sums = jnp.array([[1.0], [3.0]]), native.call("jaxvision_batch_moments", (1,), (1,))
    >>> [float(total[0]) for total in sums(x, jnp.zeros(1))] if native.present() else [4.0, 10.0]
    [4.0, 10.0]
    """
    results = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
    function = jax.ffi.ffi_call(target, results, input_output_aliases=aliases)
    given = {name: np.array(value, np.int64) if isinstance(value, tuple) else value for name, value in attributes.items()}
    return lambda *arrays: function(*arrays, **given)


set_public_names(__name__, __all__)

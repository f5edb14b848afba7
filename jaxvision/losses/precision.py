"""The one rule of precision that every loss follows, and the checks of arrays that belong together and of numbers."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.typing import Array, at_least_float32

EXACT = jax.lax.Precision.HIGHEST  # products of float32 numbers in float32, where an accelerator would round them to fewer digits


def of_rank(name: str, array: Array, letters: str) -> Array:
    """The array in float32 or wider. Raises ValueError, naming it, unless it has one axis for each of ``letters`` ("B D")."""
    array = at_least_float32(array)
    if array.ndim != len(letters.split()) or 0 in array.shape:
        raise ValueError(f"{name}: found shape {array.shape}, expected [{', '.join(letters.split())}] without empty axes")
    return array


def _known(number: float | Array) -> bool:
    """Whether a number is known before the program runs."""
    return not isinstance(number, jax.core.Tracer)


def above_zero(name: str, number: float | Array) -> None:
    """Raises ValueError for a number, known before the program runs, that is not above zero."""
    if _known(number) and not np.all(np.asarray(number) > 0):
        raise ValueError(f"{name}: found {number}, expected a number above 0")


def from_zero_to_one(name: str, number: float | Array) -> None:
    """Raises ValueError for a number, known before the program runs, that is below zero or above one."""
    if _known(number) and not np.all((np.asarray(number) >= 0) & (np.asarray(number) <= 1)):
        raise ValueError(f"{name}: found {number}, expected a number from 0 to 1")


def alike(names: str, first: Array, second: Array, letters: str) -> tuple[Array, Array]:
    """Two arrays of one shape in the wider of their types, at least float32. Raises ValueError, naming them, where shapes do not fit."""
    first, second = at_least_float32(first), at_least_float32(second)
    if first.shape != second.shape or first.ndim != len(letters.split()) or 0 in first.shape:
        expected = f"[{', '.join(letters.split())}] twice, without empty axes"
        raise ValueError(f"{names}: found shapes {first.shape} and {second.shape}, expected {expected}")
    wide = jnp.promote_types(first.dtype, second.dtype)
    return first.astype(wide), second.astype(wide)

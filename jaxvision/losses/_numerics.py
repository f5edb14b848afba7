"""The one rule of precision that every loss follows, and the checks of arrays that belong together and of numbers."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.typing import Array, Float, at_least_float32

EXACT = jax.lax.Precision.HIGHEST  # products of float32 numbers in float32, where an accelerator would round them to fewer digits


def of_rank(name: str, array: Array, letters: str) -> Array:
    """The array in float32 or wider. Raises ValueError, naming it, unless it has one axis for each of ``letters`` ("B D")."""
    array = at_least_float32(array)
    if array.ndim != len(letters.split()) or 0 in array.shape:
        raise ValueError(f"{name}: found shape {array.shape}, expected [{', '.join(letters.split())}] without empty axes")
    return array


def _check(name: str, number: float | Array, fits: Callable[[np.ndarray], np.ndarray], expected: str) -> None:
    if isinstance(number, jax.core.Tracer):  # it is known when the program runs
        return
    array = np.asarray(number)
    if array.dtype.kind in "OSU" or not np.all(fits(array)):  # objects, such as a schedule, and text
        raise ValueError(f"{name}: found {number}, expected a number {expected}")


def above_zero(name: str, number: float | Array) -> None:
    """Raises ValueError for what is no number or, if known before the program runs, not above zero."""
    _check(name, number, lambda array: array > 0, "above 0")


def not_below_zero(name: str, number: float | Array) -> None:
    """Raises ValueError for what is no number or, if known before the program runs, below zero."""
    _check(name, number, lambda array: array >= 0, "of at least 0")


def from_zero_to_one(name: str, number: float | Array) -> None:
    """Raises ValueError for what is no number or, if known before the program runs, below zero or above one."""
    _check(name, number, lambda array: (array >= 0) & (array <= 1), "from 0 to 1")


def below_largest(logits: Float[Array, "... K"]) -> tuple[Float[Array, "... K"], Float[Array, "... 1"]]:
    """(x - max x, log of the sum of exp(x - max x)) along the last axis: their difference is the logarithm of softmax.

    The largest logit is left out of the sum, log(1 + the others), so that both keep their digits, and their gradients too, where it is all
    but certain.
    """
    place = jnp.argmax(logits, axis=-1, keepdims=True)
    top, is_top = jnp.take_along_axis(logits, place, axis=-1), jnp.arange(logits.shape[-1]) == place
    nothing = jax.lax.stop_gradient(top - top)  # but nan where the largest is not finite
    below = jnp.where(is_top, nothing, logits - top)
    others = jnp.where(is_top, 0, jnp.exp(below))
    return below, jnp.log1p(jnp.sum(others, axis=-1, keepdims=True))


def log_softmax(logits: Float[Array, "... K"]) -> Float[Array, "... K"]:
    """The logarithm of softmax along the last axis, to the last digits for a class that is all but certain, its gradient too."""
    below, spread = below_largest(logits)
    return below - spread


def alike(names: str, first: Array, second: Array, letters: str) -> tuple[Array, Array]:
    """Two arrays of one shape in the wider of their types, at least float32. Raises ValueError, naming them, where shapes do not fit."""
    first, second = at_least_float32(first), at_least_float32(second)
    if first.shape != second.shape or first.ndim != len(letters.split()) or 0 in first.shape:
        expected = f"[{', '.join(letters.split())}] twice, without empty axes"
        raise ValueError(f"{names}: found shapes {first.shape} and {second.shape}, expected {expected}")
    wide = jnp.promote_types(first.dtype, second.dtype)
    return first.astype(wide), second.astype(wide)

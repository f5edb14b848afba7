"""Numerics shared by the losses: the precision rule, shape checks that apply it, unit vectors, and a log-softmax that keeps its digits."""

import jax
import jax.numpy as jnp

from jaxvision import checks
from jaxvision.kernels import unit_rows
from jaxvision.typing import Array, Float, at_least_float32

__all__ = ["EXACT", "like_shaped", "log_softmax", "of_rank", "shifted_logits", "unit_rows"]

EXACT = jax.lax.Precision.HIGHEST  # products of float32 numbers in float32, where an accelerator would round them to fewer digits


def of_rank(name: str, array: Array, letters: str) -> Array:
    """The array in float32 or wider. Raises ValueError unless it has one axis, not empty, for each of ``letters`` ("B D")."""
    array = at_least_float32(array)
    checks.shape(name, array, letters)
    return array


def like_shaped(names: str, first: Array, second: Array, letters: str | None = None) -> tuple[Array, Array]:
    """Two arrays of one shape in the wider of their types, at least float32.

    Raises ValueError unless the shapes are equal, without empty axes, and have one axis for each of ``letters`` (None: any number).
    """
    first, second = at_least_float32(first), at_least_float32(second)
    rank = first.ndim if letters is None else len(letters.split())
    if first.shape != second.shape or first.ndim != rank or 0 in first.shape:
        expected = "one shape" if letters is None else f"[{', '.join(letters.split())}] twice"
        raise ValueError(f"{names}: found shapes {first.shape} and {second.shape}, expected {expected}, without empty axes")
    wide = jnp.promote_types(first.dtype, second.dtype)
    return first.astype(wide), second.astype(wide)


def shifted_logits(logits: Float[Array, "... K"]) -> tuple[Float[Array, "... K"], Float[Array, "... 1"]]:
    """(x - max x, log sum exp(x - max x)) along the last axis. Their difference is the logarithm of softmax.

    The sum leaves out the largest logit and is taken as log(1 + the others). So both results and their gradients keep their digits where
    the largest class is almost certain.
    """
    place = jnp.argmax(logits, axis=-1, keepdims=True)
    top, is_top = jnp.take_along_axis(logits, place, axis=-1), jnp.arange(logits.shape[-1]) == place
    zero = jax.lax.stop_gradient(top - top)  # nan where the largest is not finite
    shifted = jnp.where(is_top, zero, logits - top)
    others = jnp.where(is_top, 0, jnp.exp(shifted))
    return shifted, jnp.log1p(jnp.sum(others, axis=-1, keepdims=True))


def log_softmax(logits: Float[Array, "... K"]) -> Float[Array, "... K"]:
    """log softmax along the last axis. It and its gradient stay accurate where one class is almost certain."""
    shifted, log_sum = shifted_logits(logits)
    return shifted - log_sum

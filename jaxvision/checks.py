"""Checks of arguments for every package. Each raises one line that names the argument, what was found and what was expected."""

import difflib
import sys
from collections.abc import Callable, Iterable
from numbers import Integral

import numpy as np


def _is_traced(value) -> bool:
    """Whether ``value`` is a tracer, whose number is only known when the compiled program runs. Does not import jax."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(value, jax.core.Tracer)


def _numbers(fits: Callable[[np.ndarray], np.ndarray], expected: str, numbers: dict) -> None:
    for name, number in numbers.items():
        if _is_traced(number):
            continue
        array = np.asarray(number)
        if array.dtype.kind not in "biufV" or not np.all(fits(array)):  # V: bfloat16; objects, such as a schedule, and text are refused
            raise ValueError(f"{name}: found {number!r}, expected a number {expected}")


def positive(**numbers) -> None:
    """Raise ValueError unless every number is above 0. A traced value passes: it is known only when the program runs.

    >>> from jaxvision import checks
    >>> checks.positive(temperature=-1.0)
    Traceback (most recent call last):
    ValueError: temperature: found -1.0, expected a number above 0
    """
    _numbers(lambda array: array > 0, "above 0", numbers)


def not_negative(**numbers) -> None:
    """Raise ValueError unless every number is at least 0. A traced value passes."""
    _numbers(lambda array: array >= 0, "of at least 0", numbers)


def fraction(**numbers) -> None:
    """Raise ValueError unless every number is from 0 to 1. A traced value passes."""
    _numbers(lambda array: (array >= 0) & (array <= 1), "from 0 to 1", numbers)


def integer(name: str, value, *, at_least: int = 1, at_most: int | None = None) -> None:
    """Raise ValueError unless ``value`` is an integer from ``at_least`` to ``at_most`` (None: no upper end)."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < at_least or (at_most is not None and value > at_most):
        span = f"of at least {at_least}" if at_most is None else f"from {at_least} to {at_most}"
        raise ValueError(f"{name}: found {value!r}, expected an integer {span}")


def counts(**values) -> None:
    """Raise ValueError unless every value is an integer of at least 1."""
    for name, value in values.items():
        integer(name, value)


def pair(name: str, value, *, at_least: int = 1) -> tuple[int, int]:
    """``value`` as (height, width); one integer stands for both. Raise ValueError for anything else."""
    lengths = tuple(value) if hasattr(value, "__len__") else (value, value)
    if len(lengths) != 2 or not all(isinstance(length, Integral) and length >= at_least for length in lengths):
        raise ValueError(f"{name}: found {value!r}, expected an integer of at least {at_least}, or two (height, width)")
    return lengths


def interval(name: str, ends) -> None:
    """Raise ValueError unless ``ends`` are two numbers (low, high) with 0 < low <= high."""
    if not hasattr(ends, "__len__") or len(ends) != 2 or not 0 < ends[0] <= ends[1]:
        raise ValueError(f"{name}: found {ends!r}, expected (low, high) with 0 < low <= high")


def one_of(name: str, value, choices: Iterable[str]) -> None:
    """Raise ValueError, with the nearest choice if one is near, unless ``value`` is one of ``choices``."""
    choices = tuple(choices)
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{name}: found {value!r}, expected one of {', '.join(choices)}{hint}")


def shape(name: str, array, letters: str) -> None:
    """Raise ValueError unless ``array`` has one axis, not empty, for each of ``letters`` (such as "B H W C")."""
    if array.ndim != len(letters.split()) or 0 in array.shape:
        raise ValueError(f"{name}: found shape {tuple(array.shape)}, expected [{', '.join(letters.split())}] without empty axes")

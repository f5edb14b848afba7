"""Options, checked where an operation is made: sizes, counts, ranges, ways of interpolating."""

from numbers import Integral


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a square's side or of itself. Raises ValueError unless both are whole numbers, at least 1."""
    lengths = tuple(size) if hasattr(size, "__len__") else (size, size)
    if len(lengths) != 2 or not all(isinstance(length, Integral) and length >= 1 for length in lengths):
        raise ValueError(f"size: found {size}, expected a whole number of pixels or (height, width), at least 1")
    return lengths


def check_count(name: str, value: int, low: int, high: int | None = None) -> None:
    """Raises ValueError unless ``value`` is a whole number from ``low`` to ``high``."""
    if not isinstance(value, Integral) or value < low or (high is not None and value > high):
        span = f", at least {low}" if high is None else f" from {low} to {high}"
        raise ValueError(f"{name}: found {value}, expected a whole number{span}")


def check_range(name: str, ends: tuple[float, float]) -> None:
    """Raises ValueError unless ``ends`` are two positive numbers in order."""
    if not hasattr(ends, "__len__") or len(ends) != 2 or not 0 < ends[0] <= ends[1]:
        raise ValueError(f"{name}: found {ends}, expected (low, high) with 0 < low <= high")


def check_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises ValueError for a word that is none of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name}: found {value!r}, expected one of {', '.join(allowed)}")

"""Receptive fields along one side of an image: for each position of a feature map, the first and last pixel that it depends on.

The two sides are handled separately, because every window is a rectangle. Pixels outside the image count too, so that a field has its
theoretical size even if it is larger than the image.
"""

from typing import NamedTuple

import numpy as np


class FieldAlongSide(NamedTuple):
    """First and last pixel [n] of n positions, and the pixels between neighbouring positions (``step``, the total stride)."""

    first: np.ndarray
    last: np.ndarray
    step: int
    whole: bool = False  # every pixel of the side

    @property
    def size(self) -> int | None:
        """The largest receptive field of a position in pixels; None for the whole side."""
        return None if self.whole else int((self.last - self.first).max()) + 1


def pixel_fields(count: int) -> FieldAlongSide:
    """The fields of the pixels of an image: each depends on itself alone."""
    positions = np.arange(count)
    return FieldAlongSide(positions, positions, 1)


def _extrapolated(values: np.ndarray, indices: np.ndarray, step: int) -> np.ndarray:
    """``values`` at ``indices``; outside the array they continue linearly with ``step``."""
    inside = np.clip(indices, 0, len(values) - 1)
    return values[inside] + (indices - inside) * step


def slide(field: FieldAlongSide, count: int, size: int, *, stride: int = 1, before: int = 0, dilation: int = 1) -> FieldAlongSide:
    """The fields after ``count`` sliding windows of ``size`` positions; the first begins ``before`` positions outside."""
    begin = np.arange(count) * stride - before
    first = _extrapolated(field.first, begin, field.step)
    last = _extrapolated(field.last, begin + dilation * (size - 1), field.step)
    return FieldAlongSide(first, last, field.step * stride, field.whole)


def attend_in_windows(field: FieldAlongSide, window: int, shift: int) -> FieldAlongSide:
    """The fields after attention within windows of ``window`` positions, from ``shift`` on; positions before it are a window too."""
    count = len(field.first)
    shift = shift if count > window else 0
    number = (np.arange(count) - shift) // window
    begin = np.maximum(number * window + shift, 0)
    end = np.minimum((number + 1) * window + shift, count) - 1
    return field._replace(first=field.first[begin], last=field.last[end])


def take_slice(field: FieldAlongSide, begin: int, end: int, stride: int) -> FieldAlongSide:
    """The fields of the positions ``begin:end:stride``."""
    return FieldAlongSide(field.first[begin:end:stride], field.last[begin:end:stride], field.step * stride, field.whole)


def union(one: FieldAlongSide | None, two: FieldAlongSide | None) -> FieldAlongSide | None:
    """The fields of the sum of two branches; None if they are unknown. A single position is broadcast to all positions of the other."""
    if one is None or two is None:
        return None
    if len(one.first) != len(two.first) and 1 not in (len(one.first), len(two.first)):
        longer = max(one, two, key=lambda field: len(field.first))
        return longer._replace(whole=True) if one.whole or two.whole else None
    first, last = np.minimum(one.first, two.first), np.maximum(one.last, two.last)
    longer = one if len(one.first) >= len(two.first) else two
    return FieldAlongSide(first, last, longer.step, one.whole or two.whole)


def whole_side(field: FieldAlongSide | None) -> FieldAlongSide | None:
    """The fields of positions that depend on the whole side."""
    return None if field is None else field._replace(whole=True)

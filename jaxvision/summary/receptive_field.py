"""Receptive fields: for each place along one side of a map, the first and the last pixel that can change it.

Sides are apart from one another, since every window is a rectangle. Pixels beyond the edge count as pixels, so that a field is as large as
theory says, not as large as the image allows.
"""

from typing import NamedTuple

import numpy as np


class Reach(NamedTuple):
    """First and last pixel [n] of n places, and how many pixels lie between neighbouring places (the total stride)."""

    first: np.ndarray
    last: np.ndarray
    step: int
    whole: bool = False  # every pixel of the side, however many there are

    @property
    def field(self) -> int | None:
        """The largest receptive field of a place, in pixels; None for the whole side."""
        return None if self.whole else int((self.last - self.first).max()) + 1


def pixels(count: int) -> Reach:
    """The reach of an image's own pixels: each sees itself."""
    places = np.arange(count)
    return Reach(places, places, 1)


def _beyond(values: np.ndarray, indices: np.ndarray, step: int) -> np.ndarray:
    """``values`` at ``indices``, which go on evenly where they leave the array."""
    inside = np.clip(indices, 0, len(values) - 1)
    return values[inside] + (indices - inside) * step


def slide(reach: Reach, count: int, size: int, *, stride: int = 1, before: int = 0, dilation: int = 1) -> Reach:
    """``count`` windows of ``size`` places, ``stride`` apart, the first of which begins ``before`` places outside."""
    begin = np.arange(count) * stride - before
    first = _beyond(reach.first, begin, reach.step)
    last = _beyond(reach.last, begin + dilation * (size - 1), reach.step)
    return Reach(first, last, reach.step * stride, reach.whole)


def group(reach: Reach, window: int, shift: int) -> Reach:
    """Each place sees all places of its window of ``window``; windows begin at ``shift``, and places before it are a window too."""
    count = len(reach.first)
    shift = shift if count > window else 0
    number = (np.arange(count) - shift) // window
    begin = np.maximum(number * window + shift, 0)
    end = np.minimum((number + 1) * window + shift, count) - 1
    return reach._replace(first=reach.first[begin], last=reach.last[end])


def pick(reach: Reach, begin: int, end: int, stride: int) -> Reach:
    """Every ``stride``-th place from ``begin`` until before ``end``."""
    return Reach(reach.first[begin:end:stride], reach.last[begin:end:stride], reach.step * stride, reach.whole)


def unite(one: Reach | None, two: Reach | None) -> Reach | None:
    """What either of two branches sees; None where that is not known. A single place is seen by all places of the other."""
    if one is None or two is None:
        return None
    if len(one.first) != len(two.first) and 1 not in (len(one.first), len(two.first)):
        longer = max(one, two, key=lambda reach: len(reach.first))
        return longer._replace(whole=True) if one.whole or two.whole else None
    first, last = np.minimum(one.first, two.first), np.maximum(one.last, two.last)
    longer = one if len(one.first) >= len(two.first) else two
    return Reach(first, last, longer.step, one.whole or two.whole)


def everything(reach: Reach | None) -> Reach | None:
    """Every place sees the whole side."""
    return None if reach is None else reach._replace(whole=True)

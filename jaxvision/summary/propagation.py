"""What a value of a program has seen of the image: which of its axes are places, and how far each place sees; one rule an operation."""

from fractions import Fraction
from typing import NamedTuple

from jaxvision.summary.receptive_field import Reach, everything, group, pick, pixels, slide, unite

SIDES = ("h", "w")
_NONE = frozenset()


class Window(NamedTuple):
    """A sliding window, rows before columns: size, stride, padding before and after, dilation, groups of channels."""

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


class Seen(NamedTuple):
    """The sides of the image that each axis runs along, and the reach along each side (None: not known)."""

    axes: tuple[frozenset, ...]
    reach: dict[str, Reach | None]

    def sides(self) -> frozenset:
        """The sides that some axis still runs along."""
        return frozenset().union(*self.axes)

    def exact(self, axis: int, extent: int) -> str | None:
        """The one side whose places an axis lists in full, one an entry."""
        side = next(iter(self.axes[axis])) if len(self.axes[axis]) == 1 else None
        reach = self.reach.get(side)
        return side if reach is not None and len(reach.first) == extent else None

    def blurred(self, sides: frozenset) -> "Seen":
        """The same after a sum over all places of ``sides``."""
        return self._replace(reach={side: everything(reach) if side in sides else reach for side, reach in self.reach.items()})

    def lost(self, axis: int) -> "Seen":
        """The same where it is no longer known what the places of an axis see, unless they see everything."""
        known = {side: reach for side, reach in self.reach.items() if side not in self.axes[axis] or reach is not None and reach.whole}
        return self._replace(reach={side: known.get(side) for side in self.reach})


def seen_image(shape: tuple[int, ...]) -> Seen:
    """What an input [1, H, W, C] or tokens [1, N, D] have seen: themselves."""
    sides = SIDES[: max(len(shape) - 2, 0)][:2]
    axes = (_NONE, *(frozenset({side}) for side in sides), *(_NONE,) * (len(shape) - 1 - len(sides)))
    return Seen(axes[: len(shape)], {side: pixels(extent) for side, extent in zip(sides, shape[1:])})


def through_window(seen: Seen, axes: tuple, extents: tuple, counts: tuple, window: Window) -> Seen:
    """After windows that slide along ``axes`` (positions of rows and columns) and leave ``counts`` places of ``extents``."""
    for index, axis in enumerate(axes):
        side = seen.exact(axis, extents[index])
        if side is None:
            moved = window.size[index] > 1 or window.stride[index] > 1
            seen = seen.lost(axis) if moved else seen
            continue
        options = {"stride": window.stride[index], "before": window.padding[index][0], "dilation": window.dilation[index]}
        seen = seen._replace(reach={**seen.reach, side: slide(seen.reach[side], counts[index], window.size[index], **options)})
    return seen


def through_groups(seen: Seen, extents: tuple[int, int], window: int, shift: int) -> Seen:
    """After an exchange among the places of each window of a map [B, H, W, C] (Swin's attention)."""
    for axis, extent in enumerate(extents, 1):
        side = seen.exact(axis, extent)
        if side is None:
            seen = seen.lost(axis)
        else:
            seen = seen._replace(reach={**seen.reach, side: group(seen.reach[side], window, shift)})
    return seen


def joined(values: list, shapes: list, shape: tuple[int, ...]) -> Seen | None:
    """An operation entry by entry: axes of one entry are repeated. Where shapes do not fit, what the places see is lost."""
    found = None
    for seen, own in zip(values, shapes, strict=True):
        if not isinstance(seen, Seen):
            continue
        if len(own) != len(shape):
            seen = Seen((_NONE,) * len(shape), {side: reach and (reach if reach.whole else None) for side, reach in seen.reach.items()})
        else:
            for axis, extent in enumerate(own):
                seen = seen.lost(axis) if extent not in (1, shape[axis]) else seen
            seen = seen._replace(axes=tuple(side if extent == full else _NONE for side, extent, full in zip(seen.axes, own, shape)))
        if found is None:
            found = seen
        else:
            axes = tuple(one | two for one, two in zip(found.axes, seen.axes))
            sides = {**found.reach, **seen.reach}
            found = Seen(axes, {side: unite(found.reach.get(side), seen.reach.get(side)) for side in sides})
    return found


def _groups(before: list[int], after: list[int]):
    """Which neighbouring axes of one shape become which of the other: (begin, end) here, (begin, end) there; no axis has one entry."""
    here = there = 0
    while here < len(before) or there < len(after):
        begin, start, product = here, there, 1
        while product != 1 or here == begin:
            # More than one: entries here are not yet matched there; less than one: the other way round.
            if product > 1:
                product, there = Fraction(product, after[there]), there + 1
            else:
                product, here = Fraction(product) * before[here], here + 1
        yield (begin, here), (start, there)


def reshaped(seen: Seen, before: tuple[int, ...], after: tuple[int, ...]) -> Seen:
    """Axes that are merged run along the sides of all of them; a list of all places that is split becomes rows and columns again."""
    old = [(sides, extent) for sides, extent in zip(seen.axes, before) if extent > 1]
    new = [extent for extent in after if extent > 1]
    axes = []
    for (begin, end), (start, stop) in _groups([extent for _, extent in old], new):
        sides = frozenset().union(*(own for own, _ in old[begin:end]))
        lengths = [len(seen.reach[side].first) if seen.reach[side] else 0 for side in SIDES if side in sides]
        apart = len(sides) == 2 and new[start:stop] == lengths
        axes += [frozenset({side}) for side in SIDES] if apart else [sides] * (stop - start)
    rest = iter(axes)
    return seen._replace(axes=tuple(next(rest) if extent > 1 else _NONE for extent in after))


def sliced(seen: Seen, shape: tuple[int, ...], begins: tuple, ends: tuple, strides: tuple | None) -> Seen:
    """After a slice with a stride on each axis."""
    for axis, extent in enumerate(shape):
        stride = 1 if strides is None else strides[axis]
        if (begins[axis], ends[axis], stride) == (0, extent, 1):
            continue
        side = seen.exact(axis, extent)
        if side is not None:
            seen = seen._replace(reach={**seen.reach, side: pick(seen.reach[side], begins[axis], ends[axis], stride)})
    return seen


def padded(seen: Seen, shape: tuple[int, ...], config: tuple, result: tuple[int, ...]) -> Seen:
    """After padding (before, after, between) on each axis."""
    for axis, (before, after, between) in enumerate(config):
        if (before, after, between) == (0, 0, 0):
            continue
        side = seen.exact(axis, shape[axis])
        if side is None or between:
            seen = seen.lost(axis)
        else:
            seen = seen._replace(reach={**seen.reach, side: slide(seen.reach[side], result[axis], 1, before=before)})
    return seen

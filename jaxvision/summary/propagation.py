"""The spatial structure of the values of a program: which axes run along the image, and their receptive fields. One rule per operation."""

from fractions import Fraction
from typing import NamedTuple

from jaxvision.summary.receptive_field import FieldAlongSide, attend_in_windows, pixel_fields, slide, take_slice, union, whole_side

SIDES = ("h", "w")
_NONE = frozenset()


class Window(NamedTuple):
    """A sliding window, rows before columns: size, stride, padding before and after, dilation, groups of channels."""

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


class Spatial(NamedTuple):
    """The sides of the image that each axis runs along, and the receptive fields along each side (None: unknown)."""

    axes: tuple[frozenset, ...]
    fields: dict[str, FieldAlongSide | None]

    def sides(self) -> frozenset:
        """The sides that at least one axis runs along."""
        return frozenset().union(*self.axes)

    def side_of(self, axis: int, extent: int) -> str | None:
        """The side whose positions are exactly the entries of an axis; None if there is none."""
        side = next(iter(self.axes[axis])) if len(self.axes[axis]) == 1 else None
        field = self.fields.get(side)
        return side if field is not None and len(field.first) == extent else None

    def with_field(self, side: str, field: FieldAlongSide) -> "Spatial":
        """The same structure with another receptive field along ``side``."""
        return self._replace(fields={**self.fields, side: field})

    def summed_over(self, sides: frozenset) -> "Spatial":
        """The structure after a sum over all positions of ``sides``."""
        return self._replace(fields={side: whole_side(field) if side in sides else field for side, field in self.fields.items()})

    def unknown_along(self, axis: int) -> "Spatial":
        """The same structure with unknown fields along an axis, except fields that are the whole side."""
        known = {side: field for side, field in self.fields.items() if side not in self.axes[axis] or field is not None and field.whole}
        return self._replace(fields={side: known.get(side) for side in self.fields})


def input_spatial(shape: tuple[int, ...]) -> Spatial:
    """The structure of an input [1, H, W, C] or of tokens [1, N, D]: each position depends on itself alone."""
    sides = SIDES[: max(len(shape) - 2, 0)][:2]
    axes = (_NONE, *(frozenset({side}) for side in sides), *(_NONE,) * (len(shape) - 1 - len(sides)))
    return Spatial(axes[: len(shape)], {side: pixel_fields(extent) for side, extent in zip(sides, shape[1:])})


def through_window(spatial: Spatial, axes: tuple, input_size: tuple, counts: tuple, window: Window) -> Spatial:
    """The structure after windows that slide along ``axes`` (of rows and columns), from sizes ``input_size`` to sizes ``counts``."""
    for index, axis in enumerate(axes):
        side = spatial.side_of(axis, input_size[index])
        if side is None:
            resampled = window.size[index] > 1 or window.stride[index] > 1
            spatial = spatial.unknown_along(axis) if resampled else spatial
            continue
        options = {"stride": window.stride[index], "before": window.padding[index][0], "dilation": window.dilation[index]}
        spatial = spatial.with_field(side, slide(spatial.fields[side], counts[index], window.size[index], **options))
    return spatial


def through_attention_windows(spatial: Spatial, input_size: tuple[int, int], window: int, shift: int) -> Spatial:
    """The structure after attention within each window of a map [B, H, W, C] (Swin)."""
    for axis, extent in enumerate(input_size, 1):
        side = spatial.side_of(axis, extent)
        if side is None:
            spatial = spatial.unknown_along(axis)
        else:
            spatial = spatial.with_field(side, attend_in_windows(spatial.fields[side], window, shift))
    return spatial


def elementwise(values: list, shapes: list, shape: tuple[int, ...]) -> Spatial | None:
    """The structure after an elementwise operation with broadcasting. Fields become unknown where shapes do not match."""
    result = None
    for spatial, own in zip(values, shapes, strict=True):
        if not isinstance(spatial, Spatial):
            continue
        if len(own) != len(shape):
            whole = {side: field if field is not None and field.whole else None for side, field in spatial.fields.items()}
            spatial = Spatial((_NONE,) * len(shape), whole)
        else:
            for axis, extent in enumerate(own):
                spatial = spatial.unknown_along(axis) if extent not in (1, shape[axis]) else spatial
            kept = (sides if extent == full else _NONE for sides, extent, full in zip(spatial.axes, own, shape))
            spatial = spatial._replace(axes=tuple(kept))
        if result is None:
            result = spatial
        else:
            axes = tuple(one | two for one, two in zip(result.axes, spatial.axes))
            sides = {**result.fields, **spatial.fields}
            result = Spatial(axes, {side: union(result.fields.get(side), spatial.fields.get(side)) for side in sides})
    return result


def _groups(before: list[int], after: list[int]):
    """Which axes of one shape become which of the other in a reshape: pairs of ranges (begin, end). No axis has size 1."""
    here = there = 0
    while here < len(before) or there < len(after):
        begin, start, product = here, there, 1
        while product != 1 or here == begin:
            # Above 1: sizes of ``before`` are not yet matched in ``after``; below 1: the other way round.
            if product > 1:
                product, there = Fraction(product, after[there]), there + 1
            else:
                product, here = Fraction(product) * before[here], here + 1
        yield (begin, here), (start, there)


def reshaped(spatial: Spatial, before: tuple[int, ...], after: tuple[int, ...]) -> Spatial:
    """The structure after a reshape: a merged axis runs along the sides of all its parts; flattened positions may be split again."""
    old = [(sides, extent) for sides, extent in zip(spatial.axes, before) if extent > 1]
    new = [extent for extent in after if extent > 1]
    axes = []
    for (begin, end), (start, stop) in _groups([extent for _, extent in old], new):
        sides = frozenset().union(*(own for own, _ in old[begin:end]))
        lengths = [len(spatial.fields[side].first) if spatial.fields[side] else 0 for side in SIDES if side in sides]
        is_grid = len(sides) == 2 and new[start:stop] == lengths
        axes += [frozenset({side}) for side in SIDES] if is_grid else [sides] * (stop - start)
    rest = iter(axes)
    return spatial._replace(axes=tuple(next(rest) if extent > 1 else _NONE for extent in after))


def sliced(spatial: Spatial, shape: tuple[int, ...], begins: tuple, ends: tuple, strides: tuple | None) -> Spatial:
    """The structure after a strided slice of each axis."""
    for axis, extent in enumerate(shape):
        stride = 1 if strides is None else strides[axis]
        if (begins[axis], ends[axis], stride) == (0, extent, 1):
            continue
        side = spatial.side_of(axis, extent)
        if side is not None:
            spatial = spatial.with_field(side, take_slice(spatial.fields[side], begins[axis], ends[axis], stride))
    return spatial


def padded(spatial: Spatial, shape: tuple[int, ...], config: tuple, result: tuple[int, ...]) -> Spatial:
    """The structure after padding (before, after, between) of each axis."""
    for axis, (before, after, between) in enumerate(config):
        if (before, after, between) == (0, 0, 0):
            continue
        side = spatial.side_of(axis, shape[axis])
        if side is None or between:
            spatial = spatial.unknown_along(axis)
        else:
            spatial = spatial.with_field(side, slide(spatial.fields[side], result[axis], 1, before=before))
    return spatial

"""One row for each layer of a model, and the conventions under which its operations are counted."""

import collections
import itertools
import math
from typing import NamedTuple

from jaxvision.summary.interpreter import Layer
from jaxvision.summary.propagation import SIDES


class Row(NamedTuple):
    """One layer of a report, for one image. Pairs are (rows, columns). A field is None where it does not apply to the layer.

    >>> import jaxvision as jv
    >>> from flax import linen as nn
    >>> row = jv.report(nn.Dense(2), (3,)).rows[-1]
    >>> row.kind, row.output, row.params, row.macs
    ('Dense', (2,), 8, 6)
    """

    path: str  # path of the layer's parameters, or of the module that calls the function
    kind: str  # class of the module, or MaxPool, GlobalMean, MatMul, ... for a function
    output: tuple[int, ...]  # shape without the batch; the windows of one image come first
    params: int
    macs: int  # under the convention of the report
    memory: int  # bytes of the output
    kernel: tuple[int, int] | None
    stride: tuple[int, int] | None
    padding: tuple[tuple[int, int], tuple[int, int]] | None  # before and after
    dilation: tuple[int, int] | None
    groups: int | None
    divides: bool  # False if (W - F + 2P) / S is not an integer, so that the last rows or columns are not used
    field: tuple[int | str | None, ...] | None  # receptive field in pixels; "all": the whole side; None: unknown
    total_stride: tuple[int, ...] | None  # pixels from one position of the output to the next
    weights: int  # parameters without biases
    uses: int  # multiplications whose products are added up: one MAC each
    bias_adds: int
    activations: int  # number of values in the output


def _weights(row: Row) -> int:
    return row.uses


def _torchinfo(row: Row) -> int:
    positions = row.activations // row.output[-1] if row.kernel and row.output else 1
    return row.params * positions * bool(row.memory)


def _flops(row: Row) -> int:
    return 2 * row.uses + row.bias_adds


CONVENTIONS = {"weights": _weights, "torchinfo": _torchinfo, "flops": _flops}
UNITS = {"weights": "MACs", "torchinfo": "mult-adds", "flops": "FLOPs"}


class CountedRows(NamedTuple):
    """The rows of a model for one image, in the order of computation, and their totals."""

    name: str
    image_shape: tuple[int, ...]
    convention: str
    rows: tuple[Row, ...]

    @property
    def params(self) -> int:
        """Number of parameters, including those that evaluation does not read."""
        return sum(row.params for row in self.rows)

    @property
    def weights(self) -> int:
        """Number of parameters without biases."""
        return sum(row.weights for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for one image, counted under the convention."""
        return sum(row.macs for row in self.rows)

    @property
    def activations(self) -> int:
        """Number of values in the image and in the outputs of all rows."""
        return sum(row.activations for row in self.rows)

    @property
    def memory(self) -> int:
        """Bytes of the image and of the outputs of all rows. Results between rows (ReLU, sums) are not counted."""
        return sum(row.memory for row in self.rows)

    @property
    def param_bytes(self) -> int:
        """Bytes of the parameters in float32."""
        return 4 * self.params

    @property
    def forward_backward_bytes(self) -> int:
        """The "forward/backward pass size" of torchinfo: twice the outputs of the layers that have parameters."""
        return 2 * sum(row.memory for row in self.rows if row.params)


_SUMMED = ("params", "macs", "memory", "weights", "uses", "bias_adds", "activations")


def _merge(path: str, rows: list[Row]) -> Row:
    """One row for several: sums of the counts, and the output of the last row that has one."""
    if len(rows) == 1:
        return rows[0]._replace(path=path)
    last = next((row for row in reversed(rows) if row.memory), rows[-1])
    sums = {name: sum(getattr(row, name) for row in rows) for name in _SUMMED}
    empty = dict.fromkeys(("kernel", "stride", "padding", "dilation", "groups"))
    return last._replace(path=path, kind=f"{len(rows)} layers", divides=all(row.divides for row in rows), **sums, **empty)


def merged_rows(rows: tuple[Row, ...], depth: int) -> tuple[Row, ...]:
    """Consecutive rows whose paths agree in their first ``depth`` parts, merged into one row each."""
    groups = itertools.groupby(rows, key=lambda row: row.path.split("/")[:depth])
    return tuple(_merge("/".join(parts), list(group)) for parts, group in groups)


def _divides(layer: Layer) -> bool:
    if layer.window is None or layer.input_size is None:
        return True
    size, stride, padding, dilation, _ = layer.window
    sides = zip(layer.input_size, size, stride, padding, dilation, strict=True)
    return all((extent + sum(pad) - dilated * (length - 1) - 1) % step == 0 for extent, length, step, pad, dilated in sides)


def _receptive_field(layer: Layer) -> tuple[tuple | None, tuple | None]:
    """Receptive field and total stride. The stride is None if the output has no spatial positions."""
    if layer.spatial is None or not layer.spatial.fields:
        return None, None
    fields = [layer.spatial.fields.get(side) for side in SIDES if side in layer.spatial.fields]
    sizes = tuple(field and ("all" if field.whole else field.size) for field in fields)
    has_positions = layer.spatial.sides() and None not in fields
    return sizes, tuple(field.step for field in fields) if has_positions else None


def row_of(layer: Layer, path: str) -> Row:
    """The row of a layer under the convention "weights"."""
    values = math.prod(layer.shape) if layer.itemsize else 0
    window, (field, total_stride) = layer.window, _receptive_field(layer)
    params = sum(layer.params.values())
    biases = layer.params.get("bias", 0)
    return Row(
        path=path,
        kind=layer.kind,
        output=tuple(layer.shape[1:] if layer.shape[:1] == (1,) else layer.shape),
        params=params,
        macs=layer.uses,
        memory=values * layer.itemsize,
        kernel=window and tuple(window.size),
        stride=window and tuple(window.stride),
        padding=window and tuple(tuple(sides) for sides in window.padding),
        dilation=window and tuple(window.dilation),
        groups=window and window.groups,
        divides=_divides(layer),
        field=field,
        total_stride=total_stride,
        weights=params - biases,
        uses=layer.uses,
        bias_adds=values if biases and layer.uses else 0,
        activations=values,
    )


_FUNCTION_NAMES = {
    "MaxPool": "max_pool",
    "AveragePool": "average_pool",
    "MatMul": "product",
    "GlobalMean": "global_mean",
    "GridMean": "grid_mean",
    "ResponseNorm": "response_norm",
}


def paths_of(layers: list[Layer]) -> list[str]:
    """A path for each row: that of the module; for a function also its name, with a number if the module calls several."""
    names = []
    for layer in layers:
        function = _FUNCTION_NAMES.get(layer.kind, layer.kind.lower()) if layer.function else ""
        names.append("/".join((*layer.path, function)).rstrip("/"))
    counts, earlier, paths = collections.Counter(names), collections.Counter(), []
    for layer, name in zip(layers, names, strict=True):
        earlier[name] += 1
        if layer.function and counts[name] > 1:
            attention = layer.kind == "MatMul" and counts[name] == 2  # queries with keys, then weights with values
            name = f"{name[: -len('product')]}{('scores', 'mixture')[earlier[name] - 1]}" if attention else f"{name}{earlier[name]}"
        paths.append(name or "(top)")
    return paths

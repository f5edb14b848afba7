"""What a report says: one row a layer, and totals, under a convention of counting that has a name."""

import collections
import itertools
import math
import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

from jaxvision.summary.interpreter import Layer, layers_of
from jaxvision.summary.propagation import SIDES
from jaxvision.summary.tracing import image_of, trace_call


class Row(NamedTuple):
    """One layer, for one image. Pairs are (rows, columns); None where a layer has no such thing."""

    path: str  # of its parameters, or of the module that calls it
    kind: str  # the module's class, or MaxPool, GlobalMean, MatMul, ... for a function
    output: tuple[int, ...]  # without the batch; windows of one image come first
    params: int
    macs: int  # under the report's convention
    memory: int  # bytes of the output
    kernel: tuple[int, int] | None
    stride: tuple[int, int] | None
    padding: tuple[tuple[int, int], tuple[int, int]] | None  # before and after
    dilation: tuple[int, int] | None
    groups: int | None
    divides: bool  # False where a stride leaves rows or columns over: (W - F + 2P) / S is not integral
    field: tuple[int | str | None, ...] | None  # receptive field in pixels; "all": the whole side; None: not known
    total_stride: tuple[int, ...] | None  # pixels from one place of the output to the next
    weights: int  # parameters that are not biases
    uses: int  # products of two numbers that are added up: a MAC each
    bias_adds: int
    activations: int  # numbers in the output


def _weight_uses(row: Row) -> int:
    return row.uses


def _torchinfo(row: Row) -> int:
    places = row.activations // row.output[-1] if row.kernel and row.output else 1
    return row.params * places * bool(row.memory)


def _flops(row: Row) -> int:
    return 2 * row.uses + row.bias_adds


CONVENTIONS = {"weights": _weight_uses, "torchinfo": _torchinfo, "flops": _flops}
UNITS = {"weights": "MACs", "torchinfo": "mult-adds", "flops": "FLOPs"}


class Report(NamedTuple):
    """The rows of a model for one image, in the order of computation; ``print`` shows the table."""

    name: str
    image_shape: tuple[int, ...]
    convention: str
    rows: tuple[Row, ...]

    @property
    def params(self) -> int:
        """Parameters, those that evaluation does not read included."""
        return sum(row.params for row in self.rows)

    @property
    def weights(self) -> int:
        """Parameters that are not biases."""
        return sum(row.weights for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiplications with additions for one image, under the convention."""
        return sum(row.macs for row in self.rows)

    @property
    def activations(self) -> int:
        """Numbers in the image and in the outputs of all layers."""
        return sum(row.activations for row in self.rows)

    @property
    def memory(self) -> int:
        """Bytes of the image and of the outputs of all layers; what lies between them (ReLU, sums) is not counted."""
        return sum(row.memory for row in self.rows)

    @property
    def param_bytes(self) -> int:
        """Bytes of the parameters, which are float32."""
        return 4 * self.params

    @property
    def forward_backward_bytes(self) -> int:
        """torchinfo's "forward/backward pass size": twice the outputs of the layers that have parameters."""
        return 2 * sum(row.memory for row in self.rows if row.params)

    def under(self, convention: str) -> "Report":
        """The same layers counted by another convention; see ``report``."""
        if convention not in CONVENTIONS:
            raise ValueError(f"convention: found {convention!r}, expected one of {', '.join(CONVENTIONS)}")
        count = CONVENTIONS[convention]
        return self._replace(convention=convention, rows=tuple(row._replace(macs=count(row)) for row in self.rows))

    def at_depth(self, depth: int) -> "Report":
        """Rows whose paths agree in their first ``depth`` parts as one: sums, and what the last of them gives."""
        if depth < 1:
            raise ValueError(f"depth: found {depth}, expected at least 1")
        merged = itertools.groupby(self.rows, key=lambda row: row.path.split("/")[:depth])
        return self._replace(rows=tuple(_merge("/".join(parts), list(rows)) for parts, rows in merged))

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        names = ("params", "weights", "macs", "activations", "memory", "param_bytes", "forward_backward_bytes")
        head = {"name": self.name, "image_shape": self.image_shape, "convention": self.convention}
        return {**head, **{name: getattr(self, name) for name in names}, "rows": [row._asdict() for row in self.rows]}

    def __str__(self) -> str:
        from jaxvision.summary.table import table_of

        return table_of(self)


_SUMS = ("params", "macs", "memory", "weights", "uses", "bias_adds", "activations")


def _merge(path: str, rows: list[Row]) -> Row:
    if len(rows) == 1:
        return rows[0]._replace(path=path)
    last = next((row for row in reversed(rows) if row.memory), rows[-1])
    sums = {name: sum(getattr(row, name) for row in rows) for name in _SUMS}
    nothing = dict.fromkeys(("kernel", "stride", "padding", "dilation", "groups"))
    return last._replace(path=path, kind=f"{len(rows)} layers", divides=all(row.divides for row in rows), **sums, **nothing)


def _divides(layer: Layer) -> bool:
    if layer.window is None or layer.extents is None:
        return True
    size, stride, padding, dilation, _ = layer.window
    sides = zip(layer.extents, size, stride, padding, dilation, strict=True)
    return all((extent + sum(pad) - spread * (length - 1) - 1) % step == 0 for extent, length, step, pad, spread in sides)


def _sight(layer: Layer) -> tuple[tuple | None, tuple | None]:
    """Receptive field and total stride; no stride where the output has no places any more."""
    if layer.seen is None or not layer.seen.reach:
        return None, None
    reaches = [layer.seen.reach.get(side) for side in SIDES if side in layer.seen.reach]
    field = tuple(reach and ("all" if reach.whole else reach.field) for reach in reaches)
    placed = layer.seen.sides() and None not in reaches
    return field, tuple(reach.step for reach in reaches) if placed else None


def _row(layer: Layer, path: str) -> Row:
    numbers = math.prod(layer.shape) if layer.itemsize else 0
    window, (field, total_stride) = layer.window, _sight(layer)
    params = sum(layer.params.values())
    biases = layer.params.get("bias", 0)
    return Row(
        path=path,
        kind=layer.kind,
        output=tuple(layer.shape[1:] if layer.shape[:1] == (1,) else layer.shape),
        params=params,
        macs=layer.uses,
        memory=numbers * layer.itemsize,
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
        bias_adds=numbers if biases and layer.uses else 0,
        activations=numbers,
    )


def _paths(layers: list[Layer]) -> list[str]:
    """A name a row: the module's path; for functions the path and what it is, numbered where there are several."""
    said = {
        "MaxPool": "max_pool",
        "AveragePool": "average_pool",
        "MatMul": "product",
        "GlobalMean": "global_mean",
        "GridMean": "grid_mean",
        "ResponseNorm": "response_norm",
    }
    names = ["/".join((*layer.path, said.get(layer.kind, layer.kind.lower()) if layer.function else "")).rstrip("/") for layer in layers]
    counts, seen, found = collections.Counter(names), collections.Counter(), []
    for layer, name in zip(layers, names, strict=True):
        seen[name] += 1
        if layer.function and counts[name] > 1:
            pair = layer.kind == "MatMul" and counts[name] == 2  # queries with keys, then with values
            name = f"{name[: -len('product')]}{('scores', 'mixture')[seen[name] - 1]}" if pair else f"{name}{seen[name]}"
        found.append(name or "(top)")
    return found


def _extents(image_shape: Iterable[int]) -> tuple[int, ...]:
    try:
        extents = tuple(operator.index(extent) for extent in image_shape)
    except TypeError:  # no sequence, or not of whole numbers
        extents = ()
    if not extents or min(extents) < 1:
        raise ValueError(f"image_shape: found {image_shape!r}, expected positive integers such as (224, 224, 3)")
    return extents


def report(model, image_shape: tuple[int, ...] = (224, 224, 3), *, convention: str = "weights", name: str | None = None) -> Report:
    """What each layer of a Linen module gives, holds and costs for one image [*image_shape], in evaluation. Nothing is computed.

    ``report.rows`` have output shape, parameters, MACs, bytes of the output, kernel, stride, padding, receptive field and total stride;
    ``report.params`` and ``report.macs`` are totals; ``print(report)`` shows a table. Modules that have parameters are layers, and so
    are poolings and products of two activations (attention's scores and mixture), wherever they are called. Activation functions, sums
    and dropout are not.

    ``convention`` says what is counted; its name stands in the table, since counters disagree:

    * "weights": a MAC each time a weight meets an activation, or in attention an activation another. Convolution: h w D (kh kw C / groups);
      dense: in x out a place; attention: 2 N M D. Biases, norms, poolings, activations: 0. torchvision and timm publish this figure.
    * "torchinfo": what the package torchinfo (1.8) calls mult-adds: all parameters of a convolution, biases too, times its places; those of
      any other layer once (in a transformer not once a token, and no products of activations). Its sizes are in decimal MB.
    * "flops": 2 a MAC, 1 a bias added. A perceptron of 3 inputs: 7.

    ``image_shape`` may be any input's shape without the batch: (N, D) for tokens, (D,) for a vector. Fields beyond the image's edge count
    in full; with several branches the field is all that any of them sees; attention and global pooling see "all". Raises ValueError for
    an unknown convention, an impossible shape, a model of several inputs or one whose work depends on its data; TypeError for what is no
    Linen module.
    """
    extents = _extents(image_shape)
    image = image_of(extents)
    layers = layers_of(trace_call(model, (image,)), [image.shape])
    start = Layer((), "Input", image.shape, image.dtype.itemsize, {}, seen=None)
    rows = [_row(start, "image"), *(_row(layer, path) for layer, path in zip(layers, _paths(layers), strict=True))]
    return Report(name or type(model).__name__, extents, "weights", tuple(rows)).under(convention)

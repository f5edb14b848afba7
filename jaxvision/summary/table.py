"""The text forms of a report: an aligned table, several models side by side, CSV."""

import csv
import io
from collections.abc import Iterable

from jaxvision.summary.rows import UNITS, CountedRows, Row

_HEAD = ("layer", "kind", "output", "kernel", "stride", "pad", "params", "", "memory", "field", "step")
_LEFT_ALIGNED = (0, 1, 2, 3)  # columns
_PATH_WIDTH = 40  # characters
_REMAINDER_NOTE = "! (W - F + 2P) / S is not integral: the last rows or columns are left over"


def decimal_size(count: int) -> str:
    """Bytes in decimal units: 3,953,472 becomes "3.95 MB"."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:,.2f} {unit}"
    return f"{count} B"


def _pair_text(values: tuple | None, separator: str = "x") -> str:
    """(3, 3) as "3", (1, 7) as "1x7", None as "", an unknown entry as "?"."""
    if not values:
        return ""
    texts = ["?" if value is None else str(value) for value in values]
    return texts[0] if len(set(texts)) == 1 else separator.join(texts)


def _kernel(row: Row) -> str:
    if row.kernel is None:
        return ""
    options = [f"g={row.groups}"] * (row.groups > 1) + [f"d={_pair_text(row.dilation)}"] * (row.dilation != (1, 1))
    return " ".join(["x".join(map(str, row.kernel)), *options])


def _padding(row: Row) -> str:
    return _pair_text(row.padding and tuple(_pair_text(sides, "+") for sides in row.padding))


def _cells(row: Row) -> tuple[str, ...]:
    path = row.path if len(row.path) <= _PATH_WIDTH else f"...{row.path[3 - _PATH_WIDTH :]}"
    return (
        path,
        row.kind,
        "x".join(map(str, row.output)),
        _kernel(row),
        _pair_text(row.stride) + "!" * (not row.divides),
        _padding(row),
        f"{row.params:,}" if row.params else "",
        f"{row.macs:,}" if row.macs else "",
        decimal_size(row.memory) if row.memory else "",
        _pair_text(row.field),
        _pair_text(row.total_stride),
    )


def _aligned(lines: list[tuple[str, ...]], left: Iterable[int]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = ["<" if index in left else ">" for index in range(len(widths))]
    return ["  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)).rstrip() for line in lines]


def _title(report: CountedRows) -> str:
    return f"{report.name}, one image of {' x '.join(map(str, report.image_shape))}, counted by {report.convention!r}"


def table_of(report: CountedRows) -> str:
    """A header, one line for each row, the totals, and the meaning of the marks."""
    unit = UNITS[report.convention]
    head = tuple(name or unit for name in _HEAD)
    total = ("total", "", "", "", "", "", f"{report.params:,}", f"{report.macs:,}", decimal_size(report.memory), "", "")
    lines = _aligned([head, *map(_cells, report.rows), total], _LEFT_ALIGNED)
    rule = "-" * max(map(len, lines))
    notes = [f"{report.params:,} parameters ({report.weights:,} without biases), {decimal_size(report.param_bytes)} in float32"]
    notes.append(f"{report.activations:,} activations, {decimal_size(report.memory)}: the image and the outputs above")
    if report.convention == "torchinfo":
        notes.append(f"forward/backward pass size: {decimal_size(report.forward_backward_bytes)}")
    if any(not row.divides for row in report.rows):
        notes.append(_REMAINDER_NOTE)
    return "\n".join([_title(report), rule, lines[0], rule, *lines[1:-1], rule, lines[-1], "", *notes])


def _strides(report: CountedRows) -> str:
    """All total strides of the feature maps."""
    return ", ".join(map(str, sorted({max(row.total_stride) for row in report.rows if row.total_stride}))) or "-"


def _field(report: CountedRows) -> str:
    """The largest receptive field that is smaller than the whole image."""
    fields = [row.field for row in report.rows if row.field and all(isinstance(side, int) for side in row.field)]
    return _pair_text(max(fields, key=max)) if fields else "-"


def _share(report: CountedRows, kinds: tuple[str, ...]) -> str:
    part = sum(row.macs for row in report.rows if any(kind in row.kind for kind in kinds))
    return f"{part / report.macs:.1%}" if report.macs else "-"


def comparison_of(reports: list[CountedRows]) -> str:
    """Totals of several models, one column for each model."""
    unit = UNITS[reports[0].convention]
    facts = {
        "image": lambda report: "x".join(map(str, report.image_shape)),
        "parameters": lambda report: f"{report.params:,}",
        "parameters, float32": lambda report: decimal_size(report.param_bytes),
        unit: lambda report: f"{report.macs:,}",
        f"{unit} in convolutions": lambda report: _share(report, ("Conv",)),
        f"{unit} in dense layers": lambda report: _share(report, ("Dense", "Linear")),
        f"{unit} in attention": lambda report: _share(report, ("MatMul",)),
        "activations": lambda report: f"{report.activations:,}",
        "activations, memory": lambda report: decimal_size(report.memory),
        f"{unit} a parameter": lambda report: f"{report.macs / report.params:,.1f}" if report.params else "-",
        "layers with parameters": lambda report: str(sum(bool(row.params and row.memory) for row in report.rows)),
        "total strides": _strides,
        "largest receptive field": _field,
    }
    lines = [("", *(report.name for report in reports)), *((name, *map(fact, reports)) for name, fact in facts.items())]
    aligned = _aligned(lines, (0,))
    note = f"one image each, counted by {reports[0].convention!r}; the receptive field is the largest that is not the whole image"
    return "\n".join([aligned[0], "-" * max(map(len, aligned)), *aligned[1:], "", note])


def csv_of(reports: list[CountedRows]) -> str:
    """All rows of all reports as CSV. The first column is the name of the model; pairs are written as "3x3"."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("model", *Row._fields))
    for report in reports:
        for row in report.rows:
            padding = _padding(row)
            cells = row._replace(padding=padding)
            texts = ["x".join("?" if part is None else str(part) for part in cell) if isinstance(cell, tuple) else cell for cell in cells]
            writer.writerow((report.name, *("" if text is None else text for text in texts)))
    return out.getvalue().rstrip("\n")

"""Metrics by epoch, of one run or of several runs side by side."""

from pathlib import Path

from jaxvision.plots import drawing

_TRAIN_COLOR, _EVAL_COLOR = "#1f5fa8", "#d9822b"
_LINES = (  # split, its name in the legend, colour
    ("train_epoch", "train", _TRAIN_COLOR),
    ("validation", "validation", _EVAL_COLOR),
    ("test", "eval (test)", _EVAL_COLOR),
)
_PERCENT = {  # fractions that are drawn as percentages
    "top1": "top-1 accuracy (%)",
    "map": "mean average precision (%)",
    "miou": "mean IoU (%)",
    "accuracy": "accuracy (%)",
}
_EVALUATION = ("validation", "test")
_MAX_COLUMNS, _MAX_PANELS = 3, 6


def _is_number(row: dict, name: str) -> bool:
    return isinstance(row.get(name), int | float)


def _metrics(rows: list[dict]) -> list[str]:
    """The metrics that get a panel: the loss, what an evaluation reports, and accuracies of training epochs. No timings, no top-5."""
    names = ["loss"]
    for row in rows:
        reported = row if row["split"] in _EVALUATION else _PERCENT if row["split"] == "train_epoch" else ()
        names += [name for name in reported if name not in names and _is_number(row, name)]
    drawn = [name for name in names if name not in ("step", "epoch", "top5") and not name.endswith(("_seconds", "_per_second"))]
    return drawn[:_MAX_PANELS]


def _draw_metric(axis, rows: list[dict], name: str, last_step: int, epochs: int) -> None:
    scale = 100 if name in _PERCENT else 1
    steps = [row for row in rows if row["split"] == "train" and _is_number(row, name)]
    if steps and last_step:
        positions = [row["step"] / last_step * epochs for row in steps]
        axis.plot(positions, [scale * row[name] for row in steps], color=_TRAIN_COLOR, alpha=0.25, linewidth=0.8)
    for split, text, color in _LINES:
        found = [row for row in rows if row["split"] == split and _is_number(row, name)]
        single_test = {"linestyle": "none", "marker": "*", "markersize": 10}
        style = single_test if split == "test" and len(found) == 1 else {"marker": "o", "markersize": 3}
        if found:
            axis.plot([row["epoch"] for row in found], [scale * row[name] for row in found], label=text, color=color, **style)
    axis.set_xlabel("epoch")
    axis.set_ylabel(_PERCENT.get(name, name))
    axis.set_xlim(0, 1.04 * epochs)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    if axis.get_legend_handles_labels()[1]:
        axis.legend(frameon=False)


def curves(rows: list[dict], path: str | Path) -> None:
    """Draw the loss and the metrics by epoch, for training and evaluation, one panel for each metric.

    ``rows``: the rows of ``metrics.jsonl``, dicts with ``step``, ``epoch``, ``split`` and metrics. Values of the splits "train_epoch",
    "validation" and "test" are drawn once an epoch, those of single steps (split "train") faintly. Each metric of an evaluation has a
    panel, at most six; top-5 has none.

    >>> import jaxvision as jv  # slow
    >>> import tempfile
    >>> rows = [{"step": 10, "epoch": 1, "split": "validation", "loss": 0.5, "top1": 0.8}]
    >>> path = tempfile.mkdtemp() + "/curves.png"
    >>> jv.plots.curves(rows, path)
    """
    names = _metrics(rows)
    columns = min(len(names), _MAX_COLUMNS)
    lines = -(-len(names) // columns)
    figure, axes = drawing.sheet(5.2 * columns, 3.8 * lines, lines, columns)
    last_step = max((row["step"] for row in rows if row["split"] == "train_epoch"), default=0)
    epochs = max((row["epoch"] for row in rows if row["split"] == "train_epoch"), default=1)
    for axis, name in zip(axes.flat, names, strict=False):
        _draw_metric(axis, rows, name, last_step, epochs)
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    drawing.save(figure, path)


def comparison(runs: dict[str, list[dict]], path: str | Path) -> None:
    """Draw the training and the test error of several runs by epoch.

    ``runs``: the rows of ``metrics.jsonl`` of each run, by the run's name. The left panel has the mean training error of each epoch, the
    right one the error on the test data (or validation data). A run has the same colour in both panels.

    >>> import jaxvision as jv  # slow
    >>> import tempfile
    >>> rows = [{"step": 10, "epoch": 1, "split": "train_epoch", "loss": 0.5, "top1": 0.8}]
    >>> path = tempfile.mkdtemp() + "/comparison.png"
    >>> jv.plots.comparison({"a run": rows}, path)
    """
    figure, axes = drawing.sheet(10.4, 4.2, 1, 2)
    panels = ((("train_epoch",), "training error (%)"), (("test", "validation"), "test error (%)"))
    for axis, (splits, label) in zip(axes[0], panels, strict=True):
        for name, rows in runs.items():
            found = [row for row in rows if row["split"] in splits and isinstance(row.get("top1"), int | float)]
            points = [row["epoch"] for row in found], [100 * (1 - row["top1"]) for row in found]
            axis.plot(*points, label=name, marker="o" if len(found) == 1 else None, linewidth=1.4)
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    drawing.save(figure, path)

"""Metrics by epoch, of one run or of several runs side by side."""

from pathlib import Path

from jaxvision.plots import drawing

_TRAIN_COLOR, _EVAL_COLOR = "#1f5fa8", "#d9822b"


def curves(rows: list[dict], path: str | Path) -> None:
    """Draw loss and accuracy by epoch, for training and evaluation.

    ``rows``: the rows of ``metrics.jsonl``, dicts with ``step``, ``epoch``, ``split`` and metrics. Values of the splits "train_epoch",
    "validation" and "test" are drawn once an epoch, those of single steps (split "train") faintly. A metric that no row has gets no panel.

    Example:
        >>> import jaxvision as jv  # slow
        >>> import tempfile
        >>> rows = [{"step": 10, "epoch": 1, "split": "train_epoch", "loss": 0.5, "top1": 0.8}]
        >>> path = tempfile.mkdtemp() + "/curves.png"
        >>> jv.plots.curves(rows, path)
    """
    panels = [(name, label) for name, label in (("loss", "loss"), ("top1", "top-1 accuracy (%)"), ("map", "mean average precision (%)"))]
    panels = [(name, label) for name, label in panels if any(row.get(name) is not None for row in rows)] or [("loss", "loss")]
    figure, axes = drawing.sheet(5.2 * len(panels), 3.8, 1, len(panels))
    last = max((row["step"] for row in rows if row["split"] == "train_epoch"), default=0)
    epochs = max((row["epoch"] for row in rows if row["split"] == "train_epoch"), default=1)
    for axis, (name, label) in zip(axes[0], panels, strict=True):
        scale = 1 if name == "loss" else 100
        steps = [row for row in rows if row["split"] == "train" and isinstance(row.get(name), int | float)]
        if steps and last:
            positions = [row["step"] / last * epochs for row in steps]
            axis.plot(positions, [scale * row[name] for row in steps], color=_TRAIN_COLOR, alpha=0.25, linewidth=0.8)
        for split, text, color in (
            ("train_epoch", "train", _TRAIN_COLOR),
            ("validation", "validation", _EVAL_COLOR),
            ("test", "eval (test)", _EVAL_COLOR),
        ):
            found = [row for row in rows if row["split"] == split and isinstance(row.get(name), int | float)]
            style = (
                {"linestyle": "none", "marker": "*", "markersize": 10}
                if split == "test" and len(found) == 1
                else {"marker": "o", "markersize": 3}
            )
            if found:
                axis.plot([row["epoch"] for row in found], [scale * row[name] for row in found], label=text, color=color, **style)
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.set_xlim(0, 1.04 * epochs)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(frameon=False)
    drawing.save(figure, path)


def comparison(runs: dict[str, list[dict]], path: str | Path) -> None:
    """Draw the training and the test error of several runs by epoch.

    ``runs``: the rows of ``metrics.jsonl`` of each run, by the run's name. The left panel has the mean training error of each epoch, the
    right one the error on the test data (or validation data). A run has the same colour in both panels.

    Example:
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

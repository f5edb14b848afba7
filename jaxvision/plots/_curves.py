"""How runs went: figures by epoch, of one run or of several side by side."""

from jaxvision.plots import drawing

_TRAIN, _EVAL = "#1f5fa8", "#d9822b"
_PERCENTAGES = {"top1": "top-1 accuracy (%)", "map": "mean average precision (%)", "miou": "mean IoU (%)", "accuracy": "accuracy (%)"}
_MOST_PANELS = 6


def _panels(rows: list[dict]) -> list[tuple[str, str, float]]:
    """(metric, label, factor) of each panel: the loss, then what evaluation gives; of a run without evaluation its accuracies.

    Fractions that the field gives in per cent are drawn so.
    """
    names: dict[str, None] = {}
    for split in ("validation", "test"):
        names |= dict.fromkeys(name for row in rows if row["split"] == split for name in row)
    if any(row.get("loss") is not None for row in rows):
        names = {"loss": None} | names
    known = [name for name in _PERCENTAGES if any(row.get(name) is not None for row in rows)]
    names |= dict.fromkeys(known)
    drawn = [name for name in names if name not in ("step", "epoch", "split", "top5")][:_MOST_PANELS] or ["loss"]
    return [(name, *((_PERCENTAGES[name], 100) if name in _PERCENTAGES else (name, 1))) for name in drawn]


def curves(rows: list[dict], path) -> None:
    """Loss and evaluation metrics by epoch, for training and evaluation.

    ``rows`` are those of metrics.jsonl: epoch means are of the splits "train_epoch", "validation" and "test"; single steps are of the
    split "train" and drawn faintly. Each metric that evaluation gives has a panel, at most six.
    """
    panels = _panels(rows)
    figure, axes = drawing.sheet(5.2 * len(panels), 3.8, 1, len(panels))
    last = max((row["step"] for row in rows if row["split"] == "train_epoch"), default=0)
    epochs = max((row["epoch"] for row in rows if row["split"] == "train_epoch"), default=1)
    for axis, (name, label, scale) in zip(axes[0], panels, strict=True):
        steps = [row for row in rows if row["split"] == "train" and isinstance(row.get(name), int | float)]
        if steps and last:
            positions = [row["step"] / last * epochs for row in steps]
            axis.plot(positions, [scale * row[name] for row in steps], color=_TRAIN, alpha=0.25, linewidth=0.8)
        for split, text, color in (("train_epoch", "train", _TRAIN), ("validation", "validation", _EVAL), ("test", "eval (test)", _EVAL)):
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


def comparison(runs: dict[str, list[dict]], path) -> None:
    """Training and test error by epoch of several runs side by side, from the rows of each run's metrics.jsonl.

    One panel each: mean errors of the epochs in training, errors on the test data (or validation data). Runs keep their colour.
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

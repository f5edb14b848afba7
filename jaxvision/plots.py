"""Pictures of a run, from arrays to a PNG file: curves, confusion, predictions, augmentations, filters. No window is ever opened."""

from pathlib import Path

import numpy as np

_RIGHT, _WRONG, _TRAIN, _EVAL, _GAP = "#2a7f62", "#b3261e", "#1f5fa8", "#d9822b", (0.80, 0.86, 0.93)


def _figure(width: float, height: float, rows: int = 1, columns: int = 1):
    """A figure and its axes [rows, columns], drawn without pyplot: safe in threads and without a display."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ModuleNotFoundError("jv.plots draws with matplotlib, which is not installed: pip install matplotlib") from None
    figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
    figure.get_layout_engine().set(w_pad=0.07, h_pad=0.07)  # inches
    return figure, figure.subplots(rows, columns, squeeze=False)


def _save(figure, path) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _fitted(line: str, name: str, size: float, width: float) -> str:
    """``line`` with ``name`` for its braces, as much of the name as fits in ``width`` points at this font size."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)
    cuts = [name, *(name[:length].rstrip(" ,") + "\u2026" for length in range(min(len(name) - 1, 60), 0, -1))]
    lines = [line.format(cut) for cut in cuts]
    return next((text for text in lines if text_to_path.get_text_width_height_descent(text, font, False)[0] <= width), lines[-1])


def curves(rows: list[dict], path) -> None:
    """Loss and accuracy by epoch, for training and evaluation.

    ``rows`` are those of metrics.jsonl: epoch means are of the splits "train_epoch", "validation" and "test"; single steps are of the
    split "train" and drawn faintly. A figure that no row has gets no panel.
    """
    panels = [(name, label) for name, label in (("loss", "loss"), ("top1", "top-1 accuracy (%)"), ("map", "mean average precision (%)"))]
    panels = [(name, label) for name, label in panels if any(row.get(name) is not None for row in rows)] or [("loss", "loss")]
    figure, axes = _figure(5.2 * len(panels), 3.8, 1, len(panels))
    last = max((row["step"] for row in rows if row["split"] == "train_epoch"), default=0)
    epochs = max((row["epoch"] for row in rows if row["split"] == "train_epoch"), default=1)
    for axis, (name, label) in zip(axes[0], panels, strict=True):
        scale = 1 if name == "loss" else 100
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
    _save(figure, path)


def comparison(runs: dict[str, list[dict]], path) -> None:
    """Training and test error by epoch of several runs side by side, from the rows of each run's metrics.jsonl.

    One panel each: mean errors of the epochs in training, errors on the test data (or validation data). Runs keep their colour.
    """
    figure, axes = _figure(10.4, 4.2, 1, 2)
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
    _save(figure, path)


def confusion(matrix: np.ndarray, classes: list[str], path) -> None:
    """A confusion matrix [K, K] (rows the truth), coloured by each row's share; counts are written where they can be read.

    Colours follow the root of the share, so that rare mistakes show. Raises ValueError for a matrix that does not fit the classes.
    """
    matrix, count = np.asarray(matrix), len(classes)
    if matrix.shape != (count, count):
        raise ValueError(f"matrix: found shape {matrix.shape}, expected [K, K] with K = {count}, the number of classes")
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = float(np.clip(2.2 + 0.42 * count, 4.0, 12.0))
    figure, axes = _figure(side + 0.8, side)
    from matplotlib.colors import PowerNorm

    axis = axes[0, 0]
    picture = axis.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    figure.colorbar(picture, ax=axis, fraction=0.045, label="share of the true class")
    ticks = np.arange(0, count, -(-count // 100))
    size = min(10.0, 0.55 * 72 * side / len(ticks))  # points; a name is about as tall as its row
    names = [_fitted("{}", classes[tick], size, 15 * size) for tick in ticks]
    axis.set_xticks(ticks, names, fontsize=size, rotation=90 if max(map(len, names)) * count > 30 else 0)
    axis.set_yticks(ticks, names, fontsize=size)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    if count <= 20:
        for row, column in np.argwhere(matrix):
            color = "white" if share[row, column] > 0.3 else "black"
            axis.text(column, row, f"{matrix[row, column]:d}", ha="center", va="center", fontsize=size if count <= 10 else 7, color=color)
    accuracy = np.trace(matrix) / max(matrix.sum(), 1)
    axis.set_title(f"{accuracy:.2%} of {int(matrix.sum()):,} right")
    _save(figure, path)


def _show(axis, image: np.ndarray) -> None:
    image = np.asarray(image)
    limits = {"vmin": 0, "vmax": 255} if image.dtype == np.uint8 else {"vmin": 0, "vmax": 1}
    axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", interpolation="nearest", **limits)
    axis.set_xticks([])
    axis.set_yticks([])


def worst_first(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Indices [N] of predictions from labels [N] and probabilities [N, K]: mistakes, the surest first, then the least sure of the right."""
    wrong, confidence = probabilities.argmax(-1) != labels, probabilities.max(-1)
    return np.lexsort((np.where(wrong, -confidence, confidence), ~wrong))


def predictions(images: list[np.ndarray], labels: np.ndarray, probabilities: np.ndarray, classes: list[str], path) -> None:
    """A grid of images [h, w, C] in the order of ``worst_first``, each with its predicted class and probability.

    Mistakes are red and name the true class. Raises ValueError where there are no images, or not as many labels and probabilities.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    if not len(images) or labels.shape != (len(images),) or probabilities.shape != (len(images), len(classes)):
        raise ValueError(
            f"images, labels, probabilities: found {len(images)}, {labels.shape} and {probabilities.shape}, expected N images, [N] and "
            f"[N, K] with K = {len(classes)}, the number of classes"
        )
    columns = min(8, len(images))
    rows = -(-len(images) // columns)
    figure, axes = _figure(max(1.5 * columns, 2.4), 1.85 * rows + 0.3, rows, columns)
    for axis in axes.flat:
        axis.axis("off")
    for axis, index in zip(axes.flat, worst_first(labels, probabilities), strict=False):
        found, true, row = int(probabilities[index].argmax()), int(labels[index]), probabilities[index]
        color = _RIGHT if found == true else _WRONG
        axis.axis("on")
        _show(axis, images[index])
        lines = [f"{{}} {row[found]:.0%}", f"true: {{}} {row[true]:.0%}"][: 1 if found == true else 2]
        names = (classes[found], classes[true])
        axis.set_title("\n".join(_fitted(*pair, 7, 92) for pair in zip(lines, names, strict=False)), fontsize=7, color=color)
        for spine in axis.spines.values():
            spine.set(color=color, linewidth=1.5)
    figure.suptitle(f"{(probabilities.argmax(-1) != labels).sum()} of {len(images)} wrong, the surest first", fontsize=9)
    _save(figure, path)


def augmentations(original: np.ndarray, pictures: dict[str, np.ndarray], path) -> None:
    """What augmentation makes of an image: the original [H, W, C], then each of ``pictures`` [h, w, C] under its name, five in a row.

    Floats are cut to [0, 1]. Raises ValueError for an array that is no image.
    """
    panels = {"original": np.asarray(original), **{name: np.asarray(picture) for name, picture in pictures.items()}}
    for name, picture in panels.items():
        if picture.ndim != 3 or picture.shape[2] not in (1, 3):
            raise ValueError(f"{name}: found shape {picture.shape}, expected an image [H, W, C] with C = 1 or 3")
    rows, side = -(-len(panels) // 5), 1.42
    figure, axes = _figure(5 * side, rows * (side + 0.2), rows, 5)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (name, picture) in zip(axes.flat, panels.items(), strict=False):
        _show(axis, picture if picture.dtype == np.uint8 else np.clip(picture, 0, 1))
        axis.set_title(_fitted("{}", name, 8, 72 * side - 6), fontsize=8, pad=3)
    _save(figure, path)


def _tiles(kernel: np.ndarray) -> np.ndarray:
    """Filters [kh, kw, C, D] as one image [h, w, 3] in [0, 1], each stretched to its own range, in rows of at most 16."""
    height, width, channels, count = kernel.shape
    shown = kernel if channels == 3 else kernel.mean(2, keepdims=True)
    low, high = shown.min((0, 1, 2)), shown.max((0, 1, 2))
    shown = (shown - low) / np.maximum(high - low, 1e-12)
    columns = min(16, int(np.ceil(np.sqrt(count))) if count > 8 else count)
    rows = -(-count // columns)
    canvas = np.broadcast_to(_GAP, (rows * (height + 1) + 1, columns * (width + 1) + 1, 3)).copy()
    for index in range(count):
        top, left = (index // columns) * (height + 1) + 1, (index % columns) * (width + 1) + 1
        canvas[top : top + height, left : left + width] = shown[..., index]
    return canvas


def filters(kernel: np.ndarray, path, *, before: np.ndarray | None = None) -> None:
    """The filters of a first convolution [kh, kw, C, D]; with ``before`` (the same shape), both stages side by side.

    Kernels of three channels are shown in colour, others as the mean over channels; each filter is stretched to its own range.
    Raises ValueError for other shapes.
    """
    kernel, before = np.asarray(kernel), None if before is None else np.asarray(before)
    if kernel.ndim != 4 or (before is not None and before.shape != kernel.shape):
        found = kernel.shape if before is None else f"{kernel.shape} and before {before.shape}"
        raise ValueError(f"kernel: found shape {found}, expected [kh, kw, C, D], and before the same")
    stages = [("before training", before), ("after training", kernel)] if before is not None else [("first filters", kernel)]
    tiles = [(title, _tiles(stage)) for title, stage in stages]
    height, width = tiles[0][1].shape[:2]
    panel = 4.2
    figure, axes = _figure(panel * len(tiles), panel * height / width + 0.3, 1, len(tiles))
    for axis, (title, tile) in zip(axes[0], tiles, strict=True):
        _show(axis, tile)
        axis.axis("off")
        axis.set_title(title, fontsize=10)
    _save(figure, path)

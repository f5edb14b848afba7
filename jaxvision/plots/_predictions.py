"""What a classifier answers: confusion of classes, and images with their predictions."""

import numpy as np

from jaxvision.plots import drawing


def confusion(matrix: np.ndarray, classes: list[str], path) -> None:
    """A confusion matrix [K, K] (rows the truth), coloured by each row's share; counts are written where they can be read.

    Colours follow the root of the share, so that rare mistakes show. Raises ValueError for a matrix that does not fit the classes.
    """
    matrix, count = np.asarray(matrix), len(classes)
    if matrix.shape != (count, count):
        raise ValueError(f"matrix: found shape {matrix.shape}, expected [K, K] with K = {count}, the number of classes")
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = float(np.clip(2.2 + 0.42 * count, 4.0, 12.0))
    figure, axes = drawing.sheet(side + 0.8, side)
    from matplotlib.colors import PowerNorm

    axis = axes[0, 0]
    picture = axis.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    figure.colorbar(picture, ax=axis, fraction=0.045, label="share of the true class")
    ticks = np.arange(0, count, -(-count // 100))
    size = min(10.0, 0.55 * 72 * side / len(ticks))  # points; a name is about as tall as its row
    names = [drawing.fitted("{}", classes[tick], size, 15 * size) for tick in ticks]
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
    drawing.save(figure, path)


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
    figure, axes = drawing.sheet(max(1.5 * columns, 2.4), 1.85 * rows + 0.3, rows, columns)
    for axis in axes.flat:
        axis.axis("off")
    for axis, index in zip(axes.flat, worst_first(labels, probabilities), strict=False):
        found, true, row = int(probabilities[index].argmax()), int(labels[index]), probabilities[index]
        color = drawing.RIGHT if found == true else drawing.WRONG
        axis.axis("on")
        drawing.show(axis, images[index])
        lines = [f"{{}} {row[found]:.0%}", f"true: {{}} {row[true]:.0%}"][: 1 if found == true else 2]
        names = (classes[found], classes[true])
        axis.set_title("\n".join(drawing.fitted(*pair, 7, 92) for pair in zip(lines, names, strict=False)), fontsize=7, color=color)
        for spine in axis.spines.values():
            spine.set(color=color, linewidth=1.5)
    figure.suptitle(f"{(probabilities.argmax(-1) != labels).sum()} of {len(images)} wrong, the surest first", fontsize=9)
    drawing.save(figure, path)

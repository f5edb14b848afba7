"""Predictions of a classifier: the confusion matrix, and images with their predicted classes."""

from pathlib import Path

import numpy as np

from jaxvision.plots import drawing


def confusion(matrix: np.ndarray, classes: list[str], path: str | Path) -> None:
    """Draw a confusion matrix [K, K] of counts; rows are the true classes, columns the predicted ones.

    The colour is the square root of the share of the row, so that rare mistakes are visible. Counts are written for up to 20 classes.
    Raises ValueError if the matrix is not K x K for K ``classes``.

    >>> import jaxvision as jv  # slow
    >>> import tempfile
    >>> import numpy as np
    >>> path = tempfile.mkdtemp() + "/confusion.png"
    >>> jv.plots.confusion(np.array([[9, 1], [2, 8]]), ["cat", "dog"], path)
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
    """The order [N] in which ``predictions`` shows images, from labels [N] and probabilities [N, K].

    Wrong predictions come first, the most confident first; then the right ones, the least confident first.

    >>> import jaxvision as jv
    >>> import numpy as np
    >>> jv.plots.worst_first(np.array([0, 1, 0]), np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]))
    array([1, 2, 0])
    """
    wrong, confidence = probabilities.argmax(-1) != labels, probabilities.max(-1)
    return np.lexsort((np.where(wrong, -confidence, confidence), ~wrong))


def predictions(images: list[np.ndarray], labels: np.ndarray, probabilities: np.ndarray, classes: list[str], path: str | Path) -> None:
    """Draw a grid of images [h, w, C] with their predicted classes and probabilities, in the order of ``worst_first``.

    ``labels`` [N] are the true classes, ``probabilities`` [N, K] those of the model. A wrong prediction is red and has the true class too.
    Raises ValueError if there are no images, or if the numbers of images, labels, probabilities and classes do not match.

    >>> import jaxvision as jv  # slow
    >>> import tempfile
    >>> import numpy as np
    >>> path = tempfile.mkdtemp() + "/predictions.png"
    >>> jv.plots.predictions(list(np.zeros((2, 8, 8, 3))), np.array([0, 1]), np.eye(2), ["cat", "dog"], path)
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

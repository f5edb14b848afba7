"""Grids of images: augmentations, reconstructions, nearest neighbours, patches with large activations, gradients."""

from pathlib import Path

import numpy as np

from jaxvision.plots import drawing

_MAX_NAME_WIDTH = 130  # points before a row


def augmentations(original: np.ndarray, pictures: dict[str, np.ndarray], path: str | Path) -> None:
    """Draw an image [H, W, C] and augmented versions of it, ``pictures`` [h, w, C] by name, five in a row.

    Floats are clipped to [0, 1]. Raises ValueError for an array that is not an image.

    >>> import jaxvision as jv  # slow
    >>> import tempfile
    >>> import numpy as np
    >>> path = tempfile.mkdtemp() + "/augmentations.png"
    >>> jv.plots.augmentations(np.zeros((8, 8, 3)), {"brighter": np.ones((8, 8, 3))}, path)
    """
    panels = {"original": np.asarray(original), **{name: np.asarray(picture) for name, picture in pictures.items()}}
    for name, picture in panels.items():
        if picture.ndim != 3 or picture.shape[2] not in (1, 3):
            raise ValueError(f"{name}: found shape {picture.shape}, expected an image [H, W, C] with C = 1 or 3")
    rows, side = -(-len(panels) // 5), 1.42
    figure, axes = drawing.sheet_of_images(5 * side, rows * (side + 0.2), rows, 5)
    for axis, (name, picture) in zip(axes.flat, panels.items(), strict=False):
        drawing.show(axis, picture if picture.dtype == np.uint8 else np.clip(picture, 0, 1))
        axis.set_title(drawing.fitted("{}", name, 8, 72 * side - 6), fontsize=8, pad=3)
    drawing.save(figure, path)


_MODES = {
    "honest": "honest: no statistics of hidden patches are used",
    "oracle": "oracle: uses the mean and variance of each hidden patch",
}


def reconstructions(masked: np.ndarray, reconstruction: np.ndarray, original: np.ndarray, path: str | Path, *, mode: str) -> None:
    """Draw masked inputs, their reconstructions and the originals, images [n, H, W, C] each, one triple for each image.

    ``mode``: "honest", or "oracle" if normalized patches were scaled back with the mean and variance of the hidden patches themselves,
    which a model cannot know. The title of the figure says which. Floats are clipped to [0, 1]. Raises ValueError for another mode and
    for arrays of other or different shapes.

    >>> import jaxvision as jv  # slow
    >>> import tempfile
    >>> import numpy as np
    >>> images = np.zeros((2, 8, 8, 3))
    >>> path = tempfile.mkdtemp() + "/reconstructions.png"
    >>> jv.plots.reconstructions(images, images, images, path, mode="honest")
    """
    if mode not in _MODES:
        raise ValueError(f"mode: found {mode!r}, expected 'honest' or 'oracle'")
    named = {"masked": masked, "reconstruction": reconstruction, "original": original}
    columns = [drawing.check_images(name, images) for name, images in named.items()]
    if len({images.shape for images in columns}) != 1:
        raise ValueError(f"masked, reconstruction, original: found shapes {', '.join(str(i.shape) for i in columns)}, expected the same")
    count, side = len(columns[0]), 1.3
    groups = min(count, 2 + (count > 16)) if count > 4 else 1
    rows = -(-count // groups)
    figure, axes = drawing.sheet_of_images(
        3 * side * groups, rows * side * columns[0].shape[1] / columns[0].shape[2] + 0.42, rows, 3 * groups
    )
    for index in range(count):
        row, first = index % rows, 3 * (index // rows)
        for place, (name, images) in enumerate(zip(named, columns, strict=True)):
            axis = axes[row, first + place]
            drawing.show(axis, images[index])
            if row == 0:
                axis.set_title(drawing.fitted("{}", name, 8, 72 * side - 4), fontsize=8, pad=3)
    figure.suptitle(_MODES[mode], fontsize=8)
    drawing.save(figure, path)


def _class_title(classes: list[str] | None, label, width: float) -> str:
    return "" if classes is None or label is None else drawing.fitted("{}", classes[int(label)], 7, width)


def neighbours(
    queries: np.ndarray,
    neighbours: np.ndarray,
    path: str | Path,
    *,
    query_labels: np.ndarray | None = None,
    neighbour_labels: np.ndarray | None = None,
    similarity: np.ndarray | None = None,
    classes: list[str] | None = None,
) -> None:
    """Draw images [n, H, W, C], one in a row, each before its nearest neighbours [n, k, H, W, C].

    With labels [n] and [n, k], a neighbour of the same class has a green frame, any other a red one. The names of the ``classes`` and the
    ``similarity`` [n, k] are written above the images. Floats are clipped to [0, 1]. Raises ValueError for shapes that do not match.

    >>> import jaxvision as jv  # slow
    >>> import tempfile
    >>> import numpy as np
    >>> path = tempfile.mkdtemp() + "/neighbours.png"
    >>> jv.plots.neighbours(np.zeros((2, 8, 8, 3)), np.ones((2, 3, 8, 8, 3)), path)
    """
    queries, nearest = drawing.check_images("queries", queries), drawing.check_images("neighbours", neighbours, "n k")
    count, k = nearest.shape[:2]
    labelled = query_labels is not None and neighbour_labels is not None
    known = {"query_labels": (query_labels, (count,)), "neighbour_labels": (neighbour_labels, (count, k))}
    known["similarity"] = (similarity, (count, k))
    wrong = [f"{name} {np.shape(given)}" for name, (given, shape) in known.items() if given is not None and np.shape(given) != shape]
    if wrong or len(queries) != count or (query_labels is None) != (neighbour_labels is None):
        found = ", ".join(wrong) or f"queries {queries.shape}, neighbours {nearest.shape}, labels of {'both' if labelled else 'not both'}"
        expected = f"[n, ...] and [n, k, ...], labels of both or of none, [n] and [n, k], here [{count}, {k}]"
        raise ValueError(f"queries, neighbours: found {found}, expected {expected}")
    side = 1.15
    above = 0.16 if similarity is not None or (labelled and classes is not None) else 0.02
    figure, axes = drawing.sheet_of_images((k + 1) * side, count * (side + above) + 0.25, count, k + 1)
    for row in range(count):
        for column in range(k + 1):
            axis, first = axes[row, column], column == 0
            axis.axis("on")
            drawing.show(axis, queries[row] if first else nearest[row, column - 1])
            label = None if not labelled else query_labels[row] if first else neighbour_labels[row][column - 1]
            right = not first and labelled and label == query_labels[row]
            color = "black" if first or not labelled else drawing.RIGHT if right else drawing.WRONG
            text = _class_title(classes, label, 72 * side - 6)
            if similarity is not None and not first:
                share = f"{similarity[row][column - 1]:.2f}"
                text = drawing.fitted(f"{{}} {share}", classes[int(label)], 7, 72 * side - 6) if text else share
            axis.set_title(text, fontsize=7, color=color, pad=2)
            for spine in axis.spines.values():
                spine.set(color=color, linewidth=2.0 if first else 1.5)
    figure.suptitle("nearest neighbours", fontsize=9)
    drawing.save(figure, path)


def top_patches(patches: np.ndarray, path: str | Path, *, names: list[str] | None = None, strengths: np.ndarray | None = None) -> None:
    """Draw patches [channels, count, h, w, C], a row for each channel, as ``jv.evaluate.top_patches`` finds them.

    ``names`` of the channels are written before the rows, the activations ``strengths`` [channels, count] above the patches. Floats are
    clipped to [0, 1]. Raises ValueError for shapes that do not match.

    >>> import jaxvision as jv  # slow
    >>> import tempfile
    >>> import numpy as np
    >>> path = tempfile.mkdtemp() + "/top_patches.png"
    >>> jv.plots.top_patches(np.zeros((2, 3, 8, 8, 3)), path)
    """
    patches = drawing.check_images("patches", patches, "channels count")
    channels, count = patches.shape[:2]
    names = [f"channel {channel}" for channel in range(channels)] if names is None else names
    if len(names) != channels or (strengths is not None and np.shape(strengths) != (channels, count)):
        found = f"{len(names)} names" if strengths is None else f"{len(names)} names and strengths {np.shape(strengths)}"
        raise ValueError(f"names, strengths: found {found}, expected [{channels}] and [{channels}, {count}]")
    side = 0.95
    lines = [drawing.fitted("{}", name, 8, _MAX_NAME_WIDTH) for name in names]
    margin = 0.15 + min(_MAX_NAME_WIDTH, 5.2 * max(map(len, lines))) / 72  # inches
    above = 0.17 if strengths is not None else 0.0
    figure, axes = drawing.sheet_of_images(count * side + margin, channels * (side + above) + 0.12, channels, count)
    share = margin / (count * side + margin)
    figure.get_layout_engine().set(rect=(share, 0, 1 - share, 1))  # the names are left of it
    for row in range(channels):
        for column in range(count):
            axes[row, column].axis("on")
            drawing.show(axes[row, column], patches[row, column])
            if strengths is not None:
                axes[row, column].set_title(f"{strengths[row][column]:.2g}", fontsize=6, pad=2)
        place = {"xycoords": "axes fraction", "xytext": (-4, 0), "textcoords": "offset points", "ha": "right", "va": "center"}
        axes[row, 0].annotate(lines[row], (0, 0.5), fontsize=8, **place).set_in_layout(False)
    drawing.save(figure, path)


def gradients(image: np.ndarray, found: dict[str, np.ndarray], path: str | Path) -> None:
    """Draw an image [H, W, C] next to gradients with respect to it, ``found`` [H, W, C] by name.

    Grey is 0; each gradient is scaled by its largest absolute value. Raises ValueError for gradients of another shape.

    >>> import jaxvision as jv  # slow
    >>> import tempfile
    >>> import numpy as np
    >>> path = tempfile.mkdtemp() + "/gradients.png"
    >>> jv.plots.gradients(np.zeros((8, 8, 3)), {"gradient": np.ones((8, 8, 3))}, path)
    """
    image = drawing.check_images("image", np.asarray(image)[None])[0]
    for name, gradient in found.items():
        if np.shape(gradient) != image.shape:
            raise ValueError(f"{name}: found shape {np.shape(gradient)}, expected that of the image, {image.shape}")
    scaled = {name: 0.5 + 0.5 * np.asarray(value) / max(float(np.abs(value).max()), 1e-12) for name, value in found.items()}
    panels = {"image": image, **scaled}
    columns, side = min(5, len(panels)), 1.8
    rows = -(-len(panels) // columns)
    figure, axes = drawing.sheet_of_images(columns * side, rows * (side * image.shape[0] / image.shape[1] + 0.25), rows, columns)
    for axis, (name, panel) in zip(axes.flat, panels.items(), strict=False):
        drawing.show(axis, panel)
        axis.set_title(drawing.fitted("{}", name, 8, 72 * side - 6), fontsize=8, pad=3)
    drawing.save(figure, path)

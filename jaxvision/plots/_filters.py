"""The filters of a first layer as tiles, or the principal components of a patch embedding."""

from pathlib import Path

import numpy as np

from jaxvision.plots import drawing

_GAP_COLOR = (0.80, 0.86, 0.93)  # of the lines between tiles


def _tiles(kernel: np.ndarray) -> np.ndarray:
    """Filters [kh, kw, C, D] as tiles of one image [h, w, 3] in [0, 1]. Each filter is scaled to its own range."""
    height, width, channels, count = kernel.shape
    shown = kernel if channels == 3 else kernel.mean(2, keepdims=True)
    low, high = shown.min((0, 1, 2)), shown.max((0, 1, 2))
    shown = (shown - low) / np.maximum(high - low, 1e-12)
    square = int(np.ceil(np.sqrt(count)))
    columns = count if count <= 8 else min(16, square) if count <= 256 else square
    rows = -(-count // columns)
    canvas = np.broadcast_to(_GAP_COLOR, (rows * (height + 1) + 1, columns * (width + 1) + 1, 3)).copy()
    for index in range(count):
        top, left = (index // columns) * (height + 1) + 1, (index % columns) * (width + 1) + 1
        canvas[top : top + height, left : left + width] = shown[..., index]
    return canvas


def _principal(kernel: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` principal components [kh, kw, C, count] of the filters, in order of variance."""
    rows = kernel.reshape(-1, kernel.shape[-1]).T  # [D, kh kw C]
    _, _, axes = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    return axes[:count].T.reshape(*kernel.shape[:3], -1)


def filters(kernel: np.ndarray, path: str | Path, *, before: np.ndarray | None = None, components: int | None = None) -> None:
    """Draw the filters of a first convolution or patch embedding, ``kernel`` [kh, kw, C, D].

    Kernels with three channels are drawn in colour, others as the mean over channels. Each filter is scaled to its own range.
    ``before``: the same kernel before training, drawn next to it. ``components``: draw this many principal components of the filters
    instead, as for the patch embedding of a ViT. Raises ValueError for other shapes and for ``components`` below 1.
    Source of the components: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021, figure 7.

    >>> import jaxvision as jv  # slow
    >>> import tempfile
    >>> import numpy as np
    >>> path = tempfile.mkdtemp() + "/filters.png"
    >>> jv.plots.filters(np.random.default_rng(0).normal(size=(3, 3, 3, 8)), path)
    """
    kernel, before = np.asarray(kernel), None if before is None else np.asarray(before)
    if kernel.ndim != 4 or (before is not None and before.shape != kernel.shape):
        found = kernel.shape if before is None else f"{kernel.shape} and before {before.shape}"
        raise ValueError(f"kernel: found shape {found}, expected [kh, kw, C, D], and before the same")
    if components is not None and components < 1:
        raise ValueError(f"components: found {components}, expected 1 or more")
    if components is not None:
        kernel, before = (None if stage is None else _principal(stage, components) for stage in (kernel, before))
    first = "first filters" if components is None else "principal components of the filters"
    stages = [(f"{first}, before training", before), (f"{first}, after", kernel)] if before is not None else [(first, kernel)]
    tiles = [(title, _tiles(stage)) for title, stage in stages]
    height, width = tiles[0][1].shape[:2]
    panel = 4.2
    figure, axes = drawing.sheet(panel * len(tiles), panel * height / width + 0.3, 1, len(tiles))
    for axis, (title, tile) in zip(axes[0], tiles, strict=True):
        drawing.show(axis, tile)
        axis.axis("off")
        axis.set_title(title, fontsize=9)
    drawing.save(figure, path)

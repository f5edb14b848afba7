"""Attention maps of a transformer's class token, drawn over the image, one panel for each head."""

from pathlib import Path

import numpy as np

from jaxvision.plots import drawing

_MAX_COLUMNS = 7


def attention(image: np.ndarray, maps: np.ndarray, path: str | Path) -> None:
    """Draw an image [H, W, C], the attention of each head over it, and the mean of all heads.

    ``maps`` [heads, h, w]: the share of the class token's attention that each patch gets, as ``jv.models.class_attention`` returns it.
    Each panel has its own colour scale; its title has the largest share. The figure's title has the share that all patches get together.
    Raises ValueError for other shapes. Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021, figure 1.

    >>> import jaxvision as jv  # slow
    >>> import tempfile
    >>> import numpy as np
    >>> path = tempfile.mkdtemp() + "/attention.png"
    >>> jv.plots.attention(np.zeros((8, 8, 3)), np.full((2, 4, 4), 1 / 16), path)
    """
    image, maps = drawing.check_images("image", np.asarray(image)[None])[0], np.asarray(maps, np.float32)
    if maps.ndim != 3 or 0 in maps.shape:
        raise ValueError(f"maps: found shape {maps.shape}, expected [heads, h, w] of one image and one block")
    height, width = image.shape[:2]
    panels = {f"head {head + 1}": share for head, share in enumerate(maps)} | ({"mean": maps.mean(0)} if len(maps) > 1 else {})
    rows, side = -(-(len(panels) + 1) // _MAX_COLUMNS), 1.6
    columns = -(-(len(panels) + 1) // rows)
    size = max(columns * side, 3.4), rows * (side * min(height / width, 3) + 0.34) + 0.2  # inches
    figure, axes = drawing.sheet_of_images(*size, rows, columns)
    drawing.show(axes.flat[0], image)
    axes.flat[0].set_title("image", fontsize=8, pad=3)
    grey = image.mean(-1) / (255 if image.dtype == np.uint8 else 1)
    for axis, (name, share) in zip(axes.flat[1:], panels.items(), strict=False):
        axis.imshow(grey, cmap="gray", vmin=0, vmax=1)
        relative = share / max(float(share.max()), 1e-12)
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        axis.imshow(share, cmap="inferno", vmin=0, extent=extent, interpolation="nearest", alpha=0.35 + 0.6 * relative)
        axis.set_title(f"{name}\nup to {share.max():.1%}", fontsize=7, pad=3)
    figure.suptitle(f"attention of the class token; patches get {maps.sum((1, 2)).mean():.0%} of it", fontsize=8)
    drawing.save(figure, path)

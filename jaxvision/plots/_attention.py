"""Where a transformer looks: the attention of its class token over the image, head by head."""

import numpy as np

from jaxvision.plots import drawing

_COLUMNS = 7


def attention(image: np.ndarray, maps: np.ndarray, path) -> None:
    """An image [H, W, C] and over it the attention of each head, ``maps`` [heads, h, w] of any grid; the last panel is their mean.

    (Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021, figure 1.) ``jv.models.class_attention`` gives them.
    Bright is much, each panel on its own scale; titles give the largest share and, in all, what the patches got of the attention. Raises
    ValueError for arrays of other shapes.
    """
    image, maps = drawing.check_images("image", np.asarray(image)[None])[0], np.asarray(maps, np.float32)
    if maps.ndim != 3 or 0 in maps.shape:
        raise ValueError(f"maps: found shape {maps.shape}, expected [heads, h, w], one image's and one block's")
    height, width = image.shape[:2]
    shown = {f"head {head + 1}": share for head, share in enumerate(maps)} | ({"mean": maps.mean(0)} if len(maps) > 1 else {})
    rows, side = -(-(len(shown) + 1) // _COLUMNS), 1.6
    columns = -(-(len(shown) + 1) // rows)
    size = max(columns * side, 3.4), rows * (side * min(height / width, 3) + 0.34) + 0.2  # inches
    figure, axes = drawing.sheet_of_images(*size, rows, columns)
    drawing.show(axes.flat[0], image)
    axes.flat[0].set_title("image", fontsize=8, pad=3)
    grey = image.mean(-1) / (255 if image.dtype == np.uint8 else 1)
    for axis, (name, share) in zip(axes.flat[1:], shown.items(), strict=False):
        axis.imshow(grey, cmap="gray", vmin=0, vmax=1)
        bright = share / max(float(share.max()), 1e-12)
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        axis.imshow(share, cmap="inferno", vmin=0, extent=extent, interpolation="nearest", alpha=0.35 + 0.6 * bright)
        axis.set_title(f"{name}\nup to {share.max():.1%}", fontsize=7, pad=3)
    figure.suptitle(f"attention of the class token; patches get {maps.sum((1, 2)).mean():.0%} of it", fontsize=8)
    drawing.save(figure, path)

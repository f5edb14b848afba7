"""Parts that all plots share: figures without a window, images, shortened titles, and writing the PNG file."""

from pathlib import Path

import numpy as np

RIGHT, WRONG = "#2a7f62", "#b3261e"


def sheet(width: float, height: float, rows: int = 1, columns: int = 1):
    """A figure of ``width`` x ``height`` inches and its axes [rows, columns]. Needs no pyplot and no display; safe in threads."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ModuleNotFoundError("jv.plots draws with matplotlib, which is not installed: pip install matplotlib") from None
    figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
    figure.get_layout_engine().set(w_pad=0.07, h_pad=0.07)  # inches
    return figure, figure.subplots(rows, columns, squeeze=False)


def sheet_of_images(width: float, height: float, rows: int, columns: int):
    """A figure like that of ``sheet`` for images: without frames and with little space between them."""
    figure, axes = sheet(width, height, rows, columns)
    figure.get_layout_engine().set(w_pad=0.025, h_pad=0.035, wspace=0, hspace=0)
    for axis in axes.flat:
        axis.axis("off")
    return figure, axes


def save(figure, path: str | Path) -> None:
    """Write a figure to a file. Missing folders are created."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def fitted(line: str, name: str, size: float, width: float) -> str:
    """``line.format(name)``, with ``name`` shortened so that the line fits in ``width`` points at font size ``size``."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)
    shortened = [name, *(name[:length].rstrip(" ,") + "\u2026" for length in range(min(len(name) - 1, 60), 0, -1))]
    lines = [line.format(cut) for cut in shortened]
    return next((text for text in lines if text_to_path.get_text_width_height_descent(text, font, False)[0] <= width), lines[-1])


def show(axis, image: np.ndarray) -> None:
    """Draw an image [H, W, C], uint8 or float in [0, 1], without ticks. One channel is drawn in grey."""
    image = np.asarray(image)
    limits = {"vmin": 0, "vmax": 255} if image.dtype == np.uint8 else {"vmin": 0, "vmax": 1}
    axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", interpolation="nearest", **limits)
    axis.set_xticks([])
    axis.set_yticks([])


def check_images(name: str, images, leading: str = "n") -> np.ndarray:
    """Images [n, H, W, C], or with the ``leading`` axes instead of n, as an array that ``show`` accepts. Floats are clipped to [0, 1].

    Raises ValueError that names the argument ``name`` for another shape and for an empty array.
    """
    images = np.asarray(images)
    if images.ndim != 3 + len(leading.split()) or images.shape[-1] not in (1, 3) or 0 in images.shape:
        expected = ", ".join(leading.split())
        raise ValueError(f"{name}: found shape {images.shape}, expected [{expected}, H, W, C] with at least one image and C = 1 or 3")
    return images if images.dtype == np.uint8 else np.clip(images.astype(np.float32), 0, 1)

"""What can be seen of a picture: its pixels, and where its words are."""

import numpy as np
import pytest


def picture(path) -> np.ndarray:
    """The pixels of a file; it is no blank sheet."""
    image = np.asarray(pytest.importorskip("PIL.Image").open(path).convert("RGB"))
    assert image.std() > 5
    return image


def extents(figure, texts) -> np.ndarray:
    """Boxes [n, 4] (left, bottom, right, top) of texts that are there, as shares of the figure; all of them within it."""
    figure.canvas.draw()
    boxes = [text.get_window_extent().transformed(figure.transFigure.inverted()).extents for text in texts if text.get_text()]
    assert np.min(boxes) >= 0 and np.max(boxes) <= 1
    return np.array(boxes)


def assert_apart(boxes: np.ndarray) -> None:
    """No two boxes share any ground."""
    overlap = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])  # [n, n, 2]
    covered = (overlap > 0).all(-1)
    np.fill_diagonal(covered, False)
    assert not covered.any(), np.argwhere(covered)

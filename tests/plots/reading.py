"""Reads a plot back: its pixels and the bounding boxes of its texts."""

import numpy as np
import pytest


def picture(path) -> np.ndarray:
    """The pixels of an image file, which must not be blank."""
    image = np.asarray(pytest.importorskip("PIL.Image").open(path).convert("RGB"))
    assert image.std() > 5
    return image


def extents(figure, texts) -> np.ndarray:
    """Boxes [n, 4] (left, bottom, right, top) of the texts that are not empty, as fractions of the figure. All must lie within it."""
    figure.canvas.draw()
    boxes = [text.get_window_extent().transformed(figure.transFigure.inverted()).extents for text in texts if text.get_text()]
    assert np.min(boxes) >= 0 and np.max(boxes) <= 1
    return np.array(boxes)


def assert_apart(boxes: np.ndarray) -> None:
    """Assert that no two boxes overlap."""
    overlap = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])  # [n, n, 2]
    covered = (overlap > 0).all(-1)
    np.fill_diagonal(covered, False)
    assert not covered.any(), np.argwhere(covered)

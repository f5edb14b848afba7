"""Boxes and masks of an image: padding to one shape, rasterised polygons, and how they change with a crop.

"boxes" [M, 4] float32 are (x_min, y_min, x_max, y_max), edges in pixels from the left and the top of the image: the box of the whole image
is (0, 0, width, height). "box_label" [M] int32 is the class of each. Boxes of zeros with the label -1 are padding.
"""

import numpy as np


def have_area(boxes: np.ndarray) -> np.ndarray:
    """Which of the boxes [M, 4] have a positive width and height, [M] bool."""
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def padded(rows: np.ndarray, count: int, fill: float) -> np.ndarray:
    """``rows`` [n, ...] padded by ``fill`` to [count, ...]; n is at most ``count``."""
    full = np.full((count, *rows.shape[1:]), fill, rows.dtype)
    full[: len(rows)] = rows
    return full


def polygon_mask(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres are inside a polygon, [H, W] bool; ``corners`` [n, 2] are (x, y) in pixels, ``size`` (height, width).

    A polygon that intersects itself is filled by the even-odd rule.
    """
    (x, y), (next_x, next_y) = corners.T, np.roll(corners, -1, axis=0).T
    centres = np.arange(size[0]) + 0.5
    row, edge = np.nonzero((y <= centres[:, None]) != (next_y <= centres[:, None]))
    crossing = x[edge] + (centres[row] - y[edge]) * ((next_x - x)[edge] / (next_y - y)[edge])
    flips = np.zeros((size[0], size[1] + 1), bool)  # where a row, from left to right, changes between inside and outside
    np.logical_xor.at(flips, (row, np.clip(np.ceil(crossing - 0.5), 0, size[1]).astype(int)), True)
    return np.logical_xor.accumulate(flips[:, :-1], axis=1)


def _cropped_boxes(boxes: np.ndarray, labels: np.ndarray, rectangle: tuple, size: tuple) -> dict:
    (top, left, height, width), (h, w) = rectangle, size
    moved = (boxes - np.float32([left, top, left, top])) * np.float32([w / width, h / height] * 2)  # [M, 4]
    moved = np.clip(moved, 0, np.float32([w, h, w, h]))
    kept = (labels >= 0) & have_area(moved)
    return {"boxes": np.where(kept[:, None], moved, np.float32(0)), "box_label": np.where(kept, labels, np.int32(-1))}


def _cropped_mask(mask: np.ndarray, rectangle: tuple, size: tuple) -> np.ndarray:
    """[H, W] as [h, w]: the value under the centre of each new pixel."""
    (top, left, height, width), (h, w) = rectangle, size
    rows = top + (2 * np.arange(h) + 1) * height // (2 * h)
    columns = left + (2 * np.arange(w) + 1) * width // (2 * w)
    return mask[rows[:, None], columns]


def cropped_fields(example: dict, rectangle: tuple[int, int, int, int], size: tuple[int, int]) -> dict:
    """The fields of an example whose image is cropped to ``rectangle`` (top, left, height, width) and resized to ``size`` (h, w).

    "boxes" [M, 4] are shifted, scaled and clipped; a box without a remaining area becomes padding in the same row, so that other fields of
    the boxes still match. "mask" [H, W] becomes [h, w] by the nearest pixel. All other fields, also the image, stay as they are.
    """
    changed = {}
    if "boxes" in example:
        changed |= _cropped_boxes(example["boxes"], example["box_label"], rectangle, size)
    if "mask" in example:
        changed["mask"] = _cropped_mask(example["mask"], rectangle, size)
    return {**example, **changed}

"""Boxes and masks beside an image: in arrays of one shape, and as they are after a part of the image was cut out and resized.

"boxes" [M, 4] float32 are (x_min, y_min, x_max, y_max), edges in pixels from the left and the top of the image: the box of the whole image
is (0, 0, width, height). "box_label" [M] int32 is the class of each. Rows of zeros with the label -1 fill up to M.
"""

import numpy as np


def have_area(boxes: np.ndarray) -> np.ndarray:
    """Which of the boxes [M, 4] are wider and higher than nothing, [M] bool."""
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def padded(rows: np.ndarray, count: int, fill: float) -> np.ndarray:
    """``rows`` [n, ...] of an image's n <= ``count`` boxes as [count, ...], the further rows ``fill``."""
    full = np.full((count, *rows.shape[1:]), fill, rows.dtype)
    full[: len(rows)] = rows
    return full


def polygon_mask(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels whose middles are inside a polygon, [H, W] bool; ``corners`` [n, 2] are (x, y) in pixels, ``size`` (height, width).

    Where it crosses itself, inside is what is an odd number of edges away from outside.
    """
    (x, y), (next_x, next_y) = corners.T, np.roll(corners, -1, axis=0).T
    middles = np.arange(size[0]) + 0.5
    row, edge = np.nonzero((y <= middles[:, None]) != (next_y <= middles[:, None]))
    crossing = x[edge] + (middles[row] - y[edge]) * ((next_x - x)[edge] / (next_y - y)[edge])
    flips = np.zeros((size[0], size[1] + 1), bool)  # from where on to the right inside and outside change places
    np.logical_xor.at(flips, (row, np.clip(np.ceil(crossing - 0.5), 0, size[1]).astype(int)), True)
    return np.logical_xor.accumulate(flips[:, :-1], axis=1)


def _cropped_boxes(boxes: np.ndarray, labels: np.ndarray, rectangle: tuple, size: tuple) -> dict:
    (top, left, height, width), (h, w) = rectangle, size
    moved = (boxes - np.float32([left, top, left, top])) * np.float32([w / width, h / height] * 2)  # [M, 4]
    moved = np.clip(moved, 0, np.float32([w, h, w, h]))
    kept = (labels >= 0) & have_area(moved)
    return {"boxes": np.where(kept[:, None], moved, np.float32(0)), "box_label": np.where(kept, labels, np.int32(-1))}


def _cropped_mask(mask: np.ndarray, rectangle: tuple, size: tuple) -> np.ndarray:
    """[H, W] as [h, w]: the value beneath the middle of each new pixel."""
    (top, left, height, width), (h, w) = rectangle, size
    rows = top + (2 * np.arange(h) + 1) * height // (2 * h)
    columns = left + (2 * np.arange(w) + 1) * width // (2 * w)
    return mask[rows[:, None], columns]


def cropped_fields(example: dict, rectangle: tuple[int, int, int, int], size: tuple[int, int]) -> dict:
    """The fields of an example after ``rectangle`` (top, left, height, width) was cut out of its image and resized to ``size`` (h, w).

    "boxes" [M, 4] are moved, scaled and clipped; those of which nothing is left become padding, in their place, so that further fields a
    box has stay beside it. "mask" [H, W] becomes [h, w] by the nearest pixel. All other fields, the image among them, are as they were.
    """
    found = {}
    if "boxes" in example:
        found |= _cropped_boxes(example["boxes"], example["box_label"], rectangle, size)
    if "mask" in example:
        found["mask"] = _cropped_mask(example["mask"], rectangle, size)
    return {**example, **found}

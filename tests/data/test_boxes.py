"""Boxes and masks of crops, against pixels: a box drawn as a mask is cut the same way."""

import numpy as np
import pytest

from jaxvision.data.boxes import cropped_fields, padded, polygon_mask

HEIGHT, WIDTH = 40, 60


def drawn(box) -> np.ndarray:
    """A box of whole pixels as the pixels that it covers, [H, W] uint8."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    x_min, y_min, x_max, y_max = map(int, box)
    mask[y_min:y_max, x_min:x_max] = 1
    return mask


def bounds(mask: np.ndarray) -> list[int]:
    """The box of the pixels that are set."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def example(boxes) -> dict:
    boxes = np.asarray(boxes, np.float32)
    return {"boxes": boxes, "box_label": np.arange(len(boxes), dtype=np.int32), "label": 3}


def random_boxes(random, count):
    x, y = (np.sort(random.integers(0, side + 1, (count, 2)), 1) for side in (WIDTH, HEIGHT))
    boxes = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1)
    return boxes[(x[:, 0] < x[:, 1]) & (y[:, 0] < y[:, 1])]


@pytest.mark.parametrize("zoom", [1, 2, 5])
def test_boxes_follow_the_pixels_of_a_crop(zoom):
    random = np.random.default_rng(zoom)
    vanished = 0
    for _ in range(40):
        boxes = random_boxes(random, 8)
        top, left = int(random.integers(0, HEIGHT - 1)), int(random.integers(0, WIDTH - 1))
        height, width = int(random.integers(1, HEIGHT - top + 1)), int(random.integers(1, WIDTH - left + 1))
        size = (height * zoom, width * zoom)
        cut = cropped_fields(example(boxes), (top, left, height, width), size)
        assert cut["boxes"].dtype == np.float32 and cut["box_label"].dtype == np.int32 and cut["label"] == 3
        for row, box in enumerate(boxes):
            pixels = drawn(box)[top : top + height, left : left + width].repeat(zoom, 0).repeat(zoom, 1)
            by_mask = cropped_fields({"mask": drawn(box)}, (top, left, height, width), size)["mask"]
            np.testing.assert_array_equal(by_mask, pixels)
            if pixels.any():
                np.testing.assert_allclose(cut["boxes"][row], bounds(pixels), atol=1e-4)
                assert cut["box_label"][row] == row
            else:
                assert cut["box_label"][row] == -1 and not cut["boxes"][row].any()
                vanished += 1
    assert vanished > 20


def test_boxes_and_masks_shrink_together():
    random = np.random.default_rng(9)
    for box in random_boxes(random, 30):
        size = (int(random.integers(5, HEIGHT)), int(random.integers(5, WIDTH)))
        cut = cropped_fields(example([box]) | {"mask": drawn(box)}, (0, 0, HEIGHT, WIDTH), size)
        if cut["mask"].any():
            assert abs(cut["boxes"][0] - bounds(cut["mask"])).max() <= 0.5  # a pixel is set when the box covers its middle


def test_nearest_takes_the_pixel_beneath_the_middle():
    mask = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH)
    for size in ((7, 9), (40, 60), (53, 101)):
        cut = cropped_fields({"mask": mask}, (3, 5, 30, 44), size)["mask"]
        for i, j in ((0, 0), (size[0] - 1, size[1] - 1), (3, 4)):
            assert cut[i, j] == mask[3 + int((i + 0.5) * 30 / size[0]), 5 + int((j + 0.5) * 44 / size[1])]


def test_padding_stays_padding_and_rows_keep_their_place():
    boxes = padded(np.array([[0, 0, 4, 4], [50, 30, 60, 40]], np.float32), 4, 0)
    labels = padded(np.array([7, 2], np.int32), 4, -1)
    assert boxes.shape == (4, 4) and labels.tolist() == [7, 2, -1, -1]
    assert padded(np.zeros((0, 4)), 3, 0).shape == (3, 4)
    cut = cropped_fields({"boxes": boxes, "box_label": labels}, (20, 40, 20, 20), (20, 20))
    assert cut["box_label"].tolist() == [-1, 2, -1, -1]
    assert cut["boxes"].tolist() == [[0] * 4, [10, 10, 20, 20], [0] * 4, [0] * 4]
    assert boxes[0].tolist() == [0, 0, 4, 4]  # what went in is untouched


def test_polygons_hold_the_pixels_whose_middles_are_inside():
    random = np.random.default_rng(3)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for count in (3, 4, 7, 40):
        corners = random.uniform((-5, -5), (WIDTH + 5, HEIGHT + 5), (count, 2))  # they cross themselves and leave the picture
        winding = np.zeros((HEIGHT, WIDTH))
        inside = np.zeros((HEIGHT, WIDTH), bool)
        for (x, y), (x2, y2) in zip(corners, np.roll(corners, -1, 0), strict=True):  # rays to the left, an edge at a time
            hit = x + (rows - y) / (y2 - y) * (x2 - x) < columns
            inside ^= ((y > rows) != (y2 > rows)) & hit
            across, along = (
                (x - columns) * (y2 - rows) - (x2 - columns) * (y - rows),
                (x - columns) * (x2 - columns) + (y - rows) * (y2 - rows),
            )
            winding += np.arctan2(across, along)
        np.testing.assert_array_equal(polygon_mask(corners, (HEIGHT, WIDTH)), inside)
        np.testing.assert_array_equal(np.rint(winding / (2 * np.pi)) % 2 == 1, inside)  # the sum of angles says so too
    np.testing.assert_array_equal(polygon_mask(np.array([[3, 4], [9, 4], [9, 8], [3, 8]]), (HEIGHT, WIDTH)), drawn((3, 4, 9, 8)) > 0)
    assert not polygon_mask(np.array([[3.0, 4.0], [9.0, 4.0], [6.0, 4.0]]), (HEIGHT, WIDTH)).any()

"""Which examples a subset takes."""

import numpy as np
import pytest
from PIL import Image

import jaxvision as jv

SOURCE = jv.data.synthetic(20, image_shape=(4, 4, 1), num_classes=3)


def test_a_mask_chooses_where_it_is_true():
    mask = SOURCE.labels == 1
    chosen = jv.data.subset(SOURCE, mask)
    assert len(chosen) == mask.sum() and set(np.asarray(chosen.labels)) == {1}


@pytest.mark.parametrize(("indices", "message"), [([True, False], "^indices: .*2"), ([1.7], "^indices: .*float64")])
def test_wrong_indices_are_refused(indices, message):
    with pytest.raises(ValueError, match=message):
        jv.data.subset(SOURCE, indices)


def test_an_image_too_large_after_resizing_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("L", (400_000, 1)).save(tmp_path / "a" / "long.png")
    with pytest.raises(jv.data.BrokenImage, match="400000 x 1"):
        jv.data.center_crops(jv.data.image_folder(tmp_path), 224)[0]


def test_floats_barely_above_one_are_refused(tmp_path):
    values = np.full((4, 4), 0.5, np.float32)
    values[0, 0] = 1.0001
    Image.fromarray(values).save(tmp_path / "over.tif")
    with pytest.raises(jv.data.BrokenImage, match="over.tif"):
        jv.data.read_image(tmp_path / "over.tif")

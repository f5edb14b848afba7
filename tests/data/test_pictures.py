"""Single image files as a model's input."""

import numpy as np
import pytest
from PIL import Image

import jaxvision as jv


def test_a_file_is_read_upright_and_fitted(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 10:30] = (255, 0, 0)  # the middle square is red
    picture = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    picture.save(tmp_path / "turned.png", exif=exif)
    image = jv.data.read_image(tmp_path / "turned.png")
    assert image.shape == (40, 20, 3)
    square = jv.data.fit_image(image, (8, 8, 3))
    assert square.shape == (8, 8, 3) and (square == (255, 0, 0)).all()
    gray = jv.data.fit_image(image, (6, 3, 1))
    assert gray.shape == (6, 3, 1) and gray.dtype == np.uint8


def test_fitting_at_its_own_size_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(jv.data.fit_image(image, (7, 9, 3)), image)


def test_unreadable_images_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.png"):
        jv.data.read_image(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(jv.data.BrokenImage, match="text.png"):
        jv.data.read_image(tmp_path / "text.png")

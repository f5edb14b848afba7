"""Files and folders without read permission: each reader raises one line that names the path."""

import builtins
import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from jaxvision import data


def refused(monkeypatch, path):
    """From here on ``path`` cannot be opened or listed, as root could."""

    def guarded(function):
        def checked(file, *arguments, **options):
            if not isinstance(file, int) and os.fspath(file) == os.fspath(path):
                raise PermissionError(13, "Permission denied", os.fspath(file))
            return function(file, *arguments, **options)

        return checked

    for module, name in ((builtins, "open"), (io, "open"), (os, "scandir")):
        monkeypatch.setattr(module, name, guarded(getattr(module, name)))


@pytest.fixture
def files(tmp_path):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    np.savez(tmp_path / "a.npz", x_train=np.zeros((2, 4, 4), np.uint8), y_train=np.arange(2))
    (tmp_path / "list.csv").write_text("path,label\na.png,0\n")
    image, category = {"id": 1, "file_name": "a.png"}, {"id": 1, "name": "cat"}
    box = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2]}
    (tmp_path / "boxes.json").write_text(json.dumps({"images": [image], "categories": [category], "annotations": [box]}))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "argument", "read"),
    [
        ("a.png", "path", data.read_image),
        ("a.npz", "file", lambda file: data.npz(file, "train")),
        ("list.csv", "file", data.image_list),
        ("boxes.json", "annotations", data.coco),
        ("", "file", lambda folder: data.npz(folder, "train")),
        ("", "folder", lambda folder: data.image_list(folder / "list.csv")),
        ("", "folder", lambda folder: data.coco(folder / "boxes.json")),
    ],
)
def test_a_path_without_permission_is_named_in_one_line(files, monkeypatch, name, argument, read):
    path = files / name if name else files
    if name:
        read(path)
    refused(monkeypatch, path)
    with pytest.raises(PermissionError) as error:
        read(path)
    text = str(error.value)
    assert text.startswith(f"{argument}: ") and str(path) in text and "Permission denied" in text and "\n" not in text

"""Lists of images in CSV files: labels by number or name, and one line with the row for whatever is wrong."""

import zipfile

import numpy as np
import pytest

from jaxvision import data
from tests.data.errors import one_line

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: image files are NOT checked here")


@pytest.fixture
def folder(tmp_path):
    """A folder of four pictures, gray 0, 50, 100, 150."""
    for number, name in enumerate(("a.png", "b.png", "in/c d.png", "in/é.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((3, 4), 50 * number, np.uint8)).save(tmp_path / name)
    return tmp_path


def listed(beside, text: str, **options):
    (beside / "list.csv").write_text(text, encoding="utf-8")
    return data.image_list(beside / "list.csv", **options)


def test_labels_by_number(folder):
    source = listed(folder, "path,label\nb.png,2\n./in/c d.png,0\na.png,1\n")
    assert len(source) == 3 and source.labels.tolist() == [2, 0, 1] and source.classes == ["0", "1", "2"]
    assert source[0]["image"].tolist() == np.full((3, 4, 3), 50).tolist() and source[1]["image"][0, 0, 0] == 100 and source[2]["label"] == 1
    named = listed(folder, "path,label\nb.png,2\n", classes=["x", "y", "z"])
    assert named.classes == ["x", "y", "z"] and named.labels.tolist() == [2]


def test_labels_by_name_tabs_other_columns_and_another_folder(folder, tmp_path_factory):
    text = '\ufeffid\tfile\tkind\textra\n1\t"in/é.png"\tfish, big\t\n2\ta.png\tcat\tx\n'
    other = tmp_path_factory.mktemp("lists")
    (other / "list.tsv").write_text(text, encoding="utf-8")
    source = data.image_list(other / "list.tsv", folder, image="file", label="kind")
    assert source.classes == ["cat", "fish, big"] and source.labels.tolist() == [1, 0] and source[0]["image"][0, 0, 0] == 150
    chosen = data.image_list(other / "list.tsv", folder, image="file", label="kind", classes=["fish, big", "dog", "cat"])
    assert chosen.labels.tolist() == [0, 2]
    assert next(data.batches(data.center_crops(source, 2, resize=2), 2))["image"].shape == (2, 2, 2, 3)


def test_a_list_beside_an_archive(folder):
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        archive.write(folder / "b.png", "deep/b.png")
    source = listed(folder, "path,label\ndeep/b.png,0\n", folder=folder / "all.zip")
    assert source[0]["image"][0, 0, 0] == 50


@pytest.mark.parametrize(
    ("text", "kind", "names"),
    [
        ("", ValueError, ["list.csv", "path, label"]),
        ("path,kind\na.png,0\n", ValueError, ["path, kind", "label"]),
        ("path,label\n", ValueError, ["list.csv"]),
        ("path,label\na.png,0\n\n", ValueError, ["line 3", "0 fields"]),
        ("path,label\na.png,0,1\n", ValueError, ["line 2", "3 fields"]),
        ("path,label\na.png,0\nb.png,\n", ValueError, ["line 3", "label"]),
        ("path,label\n,0\n", ValueError, ["line 2", "path"]),
        ("path,label\na.png,0\n../a.png,0\n", ValueError, ["line 3", "../a.png"]),
        ("path,label\nin\\..\\..\\a.png,0\n", ValueError, ["line 2"]),
        ("path,label\n/etc/passwd,0\n", ValueError, ["line 2", "/etc/passwd"]),
        ("path,label\nC:/a.png,0\n", ValueError, ["line 2", "C:/a.png"]),
        ('path,label\na.png,0\n"two\nlines.png",1\n', FileNotFoundError, ["line 4", r"two\nlines.png"]),
        ("path,label\n.,0\n", FileNotFoundError, ["line 2"]),
        ("path,label\na.png,0\nb.png,123456\n", ValueError, ["line 3", "123456", "0..999"]),
    ],
)
def test_a_row_that_does_not_fit_is_named(folder, text, kind, names):
    one_line(lambda: listed(folder, text), kind, *names)


def test_unknown_labels_are_refused(folder):
    one_line(lambda: listed(folder, "path,label\na.png,2\n", classes=["x", "y"]), ValueError, "line 2", "0..1")
    one_line(
        lambda: listed(folder, "path,label\na.png,cat\nb.png,dog\n", classes=["cat", "fish"]), ValueError, "line 3", "dog", "cat, fish"
    )
    one_line(lambda: listed(folder, "path,label\na.png,-1\n", classes=["x"]), ValueError, "-1", "x")


def test_files_that_are_not_lists_are_refused(folder):
    one_line(lambda: data.image_list(folder / "none.csv"), FileNotFoundError, "none.csv")
    one_line(lambda: data.image_list(folder), IsADirectoryError, "a.png")
    (folder / "list.csv").write_bytes(b"path,label\n\xff\xfe.png,0\n")
    one_line(lambda: data.image_list(folder / "list.csv"), ValueError, "list.csv", "UTF-8")

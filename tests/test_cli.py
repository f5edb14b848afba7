"""The command line: the doctor on data folders, and predictions when some files cannot be read."""

import json
import types
import zipfile

import jax
import numpy as np
import pytest
from PIL import Image

import jaxvision as jv
from jaxvision import cli


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((6, 6, 3), np.uint8)).save(path)


def test_the_doctor_names_bad_archives_beside_what_is_there(tmp_path, capsys):
    save(tmp_path / "data" / "cat" / "a.png")
    assert cli.main(["doctor", "--data", str(tmp_path / "data")]) == 0
    assert "image folder (1 classes: cat; jv.data.image_folder)" in capsys.readouterr().out
    (tmp_path / "data" / "bad.zip").write_bytes(b"PK")
    with zipfile.ZipFile(tmp_path / "data" / "good.zip", "w") as archive:
        archive.write(tmp_path / "data" / "cat" / "a.png", "dog/a.png")
    assert cli.main(["doctor", "--data", str(tmp_path / "data")]) == 1
    printed = capsys.readouterr().out
    for words in ("image folder (1 classes: cat", "good.zip with image folder (1 classes: dog", "PROBLEM: folder: ", "1 problem"):
        assert words in printed


def test_a_folder_of_no_known_layout_is_a_problem(tmp_path, capsys):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").touch()
    assert cli.main(["doctor", "--data", str(tmp_path / "notes")]) == 1
    printed = capsys.readouterr().out
    assert "PROBLEM" in printed and "a.txt" in printed and "1 problem" in printed


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A folder that stands for a run of three classes."""
    source = jv.data.synthetic(3, image_shape=(32, 32, 1), num_classes=3)
    model = jv.create_model("lenet5", num_classes=3)
    variables = model.init(jax.random.key(0), (source[0]["image"][None] / 255).astype(np.float32))
    experiment = types.SimpleNamespace(model=model, train=source, test=source, recipe=None, reads=("image",), evaluated=None)
    monkeypatch.setattr(jv.train, "load", lambda folder, step=None: (experiment, None))
    monkeypatch.setattr(jv.train, "variables", lambda state, module=None: variables)
    return str(tmp_path)


def test_predict_refuses_a_run_whose_model_reads_no_images(run, tmp_path, capsys):
    jv.train.load(run)[0].reads = ("source",)
    save(tmp_path / "a.png")
    assert cli.main(["predict", run, str(tmp_path / "a.png")]) == 2
    error = capsys.readouterr().err
    assert "RUN_OR_CHECKPOINT: " in error and "source" in error and error.count("\n") == 1


def test_predict_classifies_the_readable_images(run, tmp_path, capsys):
    for name in ("a.png", "c.png"):
        save(tmp_path / name)
    (tmp_path / "b.png").write_text("hello")
    images = [str(tmp_path / name) for name in ("a.png", "b.png", "c.png", "d.png")]
    assert cli.main(["predict", run, "--json", *images]) == 1
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert [row["image"] for row in found] == [images[0], images[2]] and all(len(row["classes"]) == 3 for row in found)
    lines = printed.err.splitlines()
    assert len(lines) == 2 and "b.png" in lines[0] and "d.png" in lines[1]
    assert cli.main(["predict", run, images[0], images[2]]) == 0
    assert not capsys.readouterr().err
    assert cli.main(["predict", run, images[1], images[3]]) == 2
    printed = capsys.readouterr()
    assert "b.png" in printed.err and "d.png" in printed.err and not printed.out and printed.err.count("\n") == 1

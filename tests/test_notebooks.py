"""Every notebook of docs/notebooks runs from a clean kernel to its end, within three minutes, and shows what it promises."""

import os
import re
import time
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: the notebooks are NOT run")
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: the notebooks are NOT run")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))
SECONDS = 180 * int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))  # all of it: three minutes of the whole machine (pytest -n 0)
TESTING = ("XLA_FLAGS", "OMP_NUM_THREADS")  # what tests/conftest.py sets and a reader's kernel does not have


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def executed(request, tmp_path_factory):
    """The notebook as it stands after a run in a folder of its own."""
    notebook, folder = nbformat.read(request.param, as_version=4), tmp_path_factory.mktemp("notebook")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    client = nbclient.NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    begun = time.monotonic()
    client.execute(env={name: value for name, value in os.environ.items() if name not in TESTING})
    assert time.monotonic() - begun < SECONDS
    return notebook


def text_of(notebook) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(output.text for output in outputs if output.output_type == "stream")


def test_the_composition_is_short():
    (path,) = [path for path in NOTEBOOKS if path.stem == "compose_losses"]
    composing = next(cell for cell in nbformat.read(path, as_version=4).cells if "jv.combine" in cell.source)
    assert len([line for line in composing.source.splitlines() if line.strip()]) < 40


@pytest.mark.slow
def test_it_runs_and_shows_its_pictures(executed):
    pictures = [output for cell in executed.cells if cell.cell_type == "code" for output in cell.outputs if "data" in output]
    assert sum("image/png" in output["data"] for output in pictures) == 3


@pytest.mark.slow
def test_training_helps(executed):
    found = dict(re.findall(r"^(raw pixels|untrained|trained) +k-NN ([\d.]+)%", text_of(executed), re.MULTILINE))
    assert set(found) == {"raw pixels", "untrained", "trained"}
    assert float(found["trained"]) > float(found["untrained"])

"""Set-up for every test: eight simulated CPU devices, a persistent compilation cache, one thread for each PyTorch process."""

import gc
import os
import tempfile
from pathlib import Path

import pytest

from benchmarks import reference
from tests.compilation import EIGHT_DEVICES

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = f"{EIGHT_DEVICES} {os.environ.get('XLA_FLAGS', '')}"  # of two values of a flag the last one counts
# The two workers share this cache. A first run begins with an empty one; a later run reads what has not changed.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "jaxvision-test-cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes share two cores


def _import_torchvision() -> bool:
    """Import torchvision where PyTorch is installed."""
    try:
        import torch
    except ImportError:
        return False
    torch.set_num_threads(1)
    reference.torchvision()
    return True


HAS_TORCH = _import_torchvision()
# Tracing makes many objects. Without this the collector scans those of PyTorch and JAX again and again: a fifth of the time of tracing.
gc.collect()
gc.freeze()
gc.set_threshold(100_000, 50, 50)


def pytest_report_header() -> str:
    return "reference: PyTorch, torchvision, timm" if HAS_TORCH else "reference: PyTorch IS NOT INSTALLED, parity with it is NOT checked"


@pytest.fixture(scope="session", autouse=True)
def no_pictures():
    """Runs draw no pictures, which take most of the time of a small run, except in tests with the marker ``pictures``; gives the drawer."""
    from jaxvision.train import pictures

    draw = pictures.draw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *arguments: None)
        yield draw


@pytest.fixture(autouse=True)
def pictures_on_request(request, monkeypatch, no_pictures) -> None:
    if "pictures" in request.keywords:
        monkeypatch.setattr("jaxvision.train.pictures.draw", no_pictures)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets that JAXVISION_DATA names; tests that need it skip without it."""
    folder = os.environ.get("JAXVISION_DATA")
    if not folder:
        pytest.skip("JAXVISION_DATA is not set: this test needs real data sets")
    return Path(folder)

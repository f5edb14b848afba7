"""Set-up for every test: eight simulated CPU devices, a persistent compilation cache, one thread for each PyTorch process."""

import os
import tempfile
from pathlib import Path

import pytest

from benchmarks import reference

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Eight devices. No LLVM optimisation: the tests spend more time in compilation than in execution (40 % less for a contract test).
for flag, value in (("xla_force_host_platform_device_count", 8), ("xla_backend_optimization_level", 0)):
    if flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --{flag}={value}"
# The two workers share this cache. A first run begins with an empty one; a later run reads what has not changed.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "jaxvision-test-cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
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


def pytest_report_header() -> str:
    return "reference: PyTorch, torchvision, timm" if HAS_TORCH else "reference: PyTorch IS NOT INSTALLED, parity with it is NOT checked"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets that JAXVISION_DATA names; tests that need it skip without it."""
    folder = os.environ.get("JAXVISION_DATA")
    if not folder:
        pytest.skip("JAXVISION_DATA is not set: this test needs real data sets")
    return Path(folder)

"""Every recipe's command in smoke mode, as a user types it: to its end, with all of its pictures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compilation import ONE_DEVICE
from tests.recipes import IMAGENET_FORMS, RECIPES

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RECIPES if name not in IMAGENET_FORMS])
def test_the_command_runs_to_its_end(name, tmp_path):
    command = [sys.executable, "-m", f"experiments.{name}", "--smoke", "--workdir", str(tmp_path / "run")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"XLA_FLAGS": ONE_DEVICE})
    assert found.returncode == 0, found.stderr
    assert "test top1" in found.stdout and (tmp_path / "run" / "summary.json").is_file()
    assert "no picture" not in found.stdout

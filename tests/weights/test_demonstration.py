"""The demonstration of docs/weights.md, as it stands there: load, predict, fine-tune, write back, the same logits in torchvision."""

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torchvision", reason="torchvision is not installed: docs/weights.md is NOT run here")
PAGE = Path(__file__).parents[2] / "docs" / "weights.md"


@pytest.mark.slow
def test_the_page_runs_and_its_claims_hold(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    assert names["logits"].shape == (8, 5)
    assert names["losses"][-1] < names["losses"][0] / 2
    assert names["difference"] <= 1e-4
    assert not np.allclose(names["ours"], names["logits"], atol=0.1)
    with capsys.disabled():
        print(f"\nloss {names['losses'][0]:.3f} to {names['losses'][-1]:.3f}; logits differ by {names['difference']:.1e} deviations")

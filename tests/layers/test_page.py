"""docs/layers.md: its code runs, and what it says of dead units and weight sharing holds."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "layers.md"


@pytest.mark.slow
def test_the_page_runs():
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    print(names["dead"], names["loss_by_activation"], names["losses"], names["sizes"])
    assert names["dead"]["relu"] == 1 and names["dead"]["leaky_relu"] < 1
    assert names["loss_by_activation"]["relu"] > 2.25 > names["loss_by_activation"]["leaky_relu"]
    assert names["sizes"]["not shared"] - names["sizes"]["shared"] == 255 * 8 * (9 * 8 + 1)
    assert max(names["losses"].values()) < 2
    assert names["larger"].shape == (1, 64, 32) and names["fixed"].shape == (1, 16, 32)

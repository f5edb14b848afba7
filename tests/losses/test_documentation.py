"""The Python examples of docs/losses.md run; each stands alone."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "losses.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("code", [pytest.param(code, marks=pytest.mark.slow if "create_model" in code else ()) for code in EXAMPLES])
def test_an_example_runs(code):
    exec(compile(code, "docs/losses.md", "exec"), {})


def test_every_loss_is_in_the_documentation():
    from jaxvision import losses

    assert not [name for name in losses.__all__ if f"`{name}`" not in PAGE]

"""The code of the README works, and the links of all documents exist."""

import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_code_trains_a_classifier(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.+?)```", README, re.DOTALL).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    names: dict = {}
    exec(code, names)
    assert np.mean(names["probabilities"].argmax(-1) == names["test"].labels) > 0.9


def test_the_test_command_is_that_of_continuous_integration():
    commands = re.findall(r"python -m pip install -e '\.\[test\]' && python -m pytest", README)
    assert commands and commands[0] in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_links_exist():
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name}: {link}"

"""The README's code does what it says, and its links lead somewhere."""

import re
from pathlib import Path

import numpy as np

import jaxvision as jv

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_lectures_two_functions_learn_digits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.+?)```", README, re.DOTALL).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    names: dict = {}
    exec(code, names)
    train, test = (jv.data.digits(split) for split in ("train", "test"))
    images, labels = (np.stack([train[i][name] for i in range(len(train))]) for name in ("image", "label"))
    model = names["train"](images, labels)
    found = names["predict"](np.stack([test[i]["image"] for i in range(len(test))]), model)
    assert np.mean(found == test.labels) > 0.9


def test_the_readmes_commands_are_those_of_continuous_integration():
    commands = re.findall(r"python -m pip install -e '\.\[test\]' && python -m pytest", README)
    assert commands and commands[0] in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_links_lead_somewhere():
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_nothing_is_left_to_fill_in():
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "experiments").glob("*.py")]:
        assert not re.search(r"\b(EXPECTED|DIGITS|MNIST_FIGURES|TBD)\b", path.read_text(encoding="utf-8")), path

"""The examples in the docstrings of public names: each runs alone, gives what it shows, and is short.

An example that compiles a network or trains says so in its first line, ``>>> import jaxvision as jv  # slow``.
"""

import doctest
import importlib
from collections.abc import Iterator

import pytest

from tests.test_style import exported, packages

LINES = 6  # of code, imports included
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def public() -> dict[str, object]:
    """{dotted name: function or class} of every package's list, each object once, under the longest of its names."""
    found = {}
    for package in sorted(packages(), key=lambda name: -name.count(".")):
        for name in exported(package):
            item = getattr(importlib.import_module(package), name)
            if callable(item) and getattr(item, "__module__", "").startswith("jaxvision") and id(item) not in found:
                found[id(item)] = (f"{package}.{name}", item)
    return dict(found.values())


def documented(name: str, item: object) -> Iterator[tuple[str, str]]:
    """(name, docstring) of a public object and of its public methods."""
    yield name, item.__doc__ or ""
    if isinstance(item, type):
        for method, member in vars(item).items():
            if not method.startswith("_") and (getattr(member, "__module__", None) or "").startswith("jaxvision"):
                yield f"{name}.{method}", member.__doc__ or ""


PUBLIC = public()
PARSER = doctest.DocTestParser()
DOCUMENTED = {name: text for item in PUBLIC.items() for name, text in documented(*item)}
EXAMPLES = {name: PARSER.get_doctest(text, {}, name, None, None) for name, text in DOCUMENTED.items() if ">>>" in text}
SLOW = {name for name, example in EXAMPLES.items() if "# slow" in "".join(line.source for line in example.examples)}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in sorted(EXAMPLES)])
def test_an_example_gives_what_it_shows(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report: list[str] = []
    assert doctest.DocTestRunner(optionflags=FLAGS).run(EXAMPLES[name], out=report.append).failed == 0, "".join(report)


def test_examples_are_short():
    lengths = {name: sum(line.source.count("\n") for line in example.examples) for name, example in EXAMPLES.items()}
    long = {name: count for name, count in lengths.items() if count > LINES}
    assert not long, f"an example has at most {LINES} lines: {long}"


def test_every_public_name_has_an_example():
    bare = sorted(name for name in PUBLIC if name not in EXAMPLES)
    assert not bare, "no example:\n  " + "\n  ".join(bare)

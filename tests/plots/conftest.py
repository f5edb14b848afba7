"""A fixture that keeps figures open, so that tests can inspect them."""

import sys

import pytest

from jaxvision.plots import drawing


@pytest.fixture
def figures(monkeypatch) -> list:
    """The figures that are drawn, kept open; pyplot cannot be imported, so that no window can open."""
    drawn, save = [], drawing.save
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setattr(drawing, "save", lambda figure, path: (save(figure, path), drawn.append(figure)))
    return drawn

"""Figures that stay open to be looked at."""

import sys

import pytest

from jaxvision.plots import drawing


@pytest.fixture
def figures(monkeypatch) -> list:
    """The figures that are drawn, still open to be looked at, and no way to open a window."""
    drawn, save = [], drawing.save
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setattr(drawing, "save", lambda figure, path: (save(figure, path), drawn.append(figure)))
    return drawn

"""Marks that tests of every package use."""

import pytest


def slow(*values):
    """One case of a parametrized test, in the slow set."""
    return pytest.param(*values, marks=pytest.mark.slow)

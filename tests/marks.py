"""Which cases of a parametrized test the fast set runs; the others carry the marker ``slow``."""

from collections.abc import Collection, Iterable

import pytest


def slow(*values):
    """One case of a parametrized test, in the slow set."""
    return pytest.param(*values, marks=pytest.mark.slow)


def split(cases: Iterable, fast: Collection) -> list:
    """The cases of a parametrized test, those that are not in ``fast`` in the slow set."""
    return [case if case in fast else slow(case) for case in cases]

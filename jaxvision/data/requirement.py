"""Packages that only some sources need: imported where they are needed, named clearly where they are missing."""

import importlib
from types import ModuleType


def need(module: str, *, install: str, reason: str) -> ModuleType:
    """The imported ``module``; raises ModuleNotFoundError, in one line, that names the missing package and the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = "" if (error.name or module).partition(".")[0] == module.partition(".")[0] else f" ({error.name} is missing)"
        raise ModuleNotFoundError(f"{reason} needs {module.partition('.')[0]}{missing}: pip install {install}") from error

"""Checks of what a reader needs, paths that exist and packages that are installed; each error is one line, with what was found instead."""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

_NAMES_IN_MESSAGE = 6


def need(module: str, *, install: str, reason: str) -> ModuleType:
    """Import an optional ``module``. Raises ModuleNotFoundError with the name of the missing package and the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = "" if (error.name or module).partition(".")[0] == module.partition(".")[0] else f" ({error.name} is missing)"
        raise ModuleNotFoundError(f"{reason} needs {module.partition('.')[0]}{missing}: pip install {install}") from error


def printable(name: object) -> str:
    """A name for a message: characters that cannot be printed are escaped."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(name))


def listed(names: Sequence[str]) -> str:
    """The first few of some names, as text."""
    more = f" and {len(names) - _NAMES_IN_MESSAGE} more" if len(names) > _NAMES_IN_MESSAGE else ""
    return (printable(", ".join(names[:_NAMES_IN_MESSAGE])) + more) or "nothing"


def unreadable(argument: str, path: str | Path, error: OSError) -> OSError:
    """An error of the same type, in one line, for a folder or file that this user may not read."""
    return type(error)(f"{argument}: {printable(path)} cannot be read ({error.strerror or error}): give this user permission to read it")


def contents(folder: Path) -> str:
    """The first few names in a folder, as text."""
    with os.scandir(folder) as entries:  # scandir knows which entries are folders
        return listed(sorted(entry.name + "/" * entry.is_dir() for entry in entries if not entry.name.startswith(".")))


def existing(path: str | Path, argument: str, expected: str) -> Path:
    """``path`` with ~ expanded. Raises FileNotFoundError, with the contents of its nearest existing parent, if it does not exist."""
    if path is None:
        raise ValueError(f"{argument}: found None, expected {expected}")
    path = Path(path).expanduser()
    try:
        if path.exists():
            return path
        parent = next(parent for parent in path.absolute().parents if parent.is_dir())
        holds = contents(parent)
    except OSError as error:
        raise unreadable(argument, path, error) from error
    raise FileNotFoundError(f"{argument}: {path} does not exist, expected {expected}; its parent {parent} contains {holds}")


def existing_folder(path: str | Path, argument: str, expected: str) -> Path:
    """``path`` if it is a folder that is not empty. Raises FileNotFoundError or NotADirectoryError otherwise."""
    path = existing(path, argument, expected)
    if not path.is_dir():
        raise NotADirectoryError(f"{argument}: {path} is a file, expected {expected}")
    try:
        empty = contents(path) == "nothing"
    except OSError as error:
        raise unreadable(argument, path, error) from error
    if empty:
        raise FileNotFoundError(f"{argument}: {path} is empty, expected {expected}")
    return path


def existing_file(path: str | Path, argument: str, expected: str) -> Path:
    """``path`` if it is a file. Raises FileNotFoundError or IsADirectoryError otherwise."""
    path = existing(path, argument, expected)
    if not path.is_dir():
        return path
    try:
        holds = contents(path)
    except OSError as error:
        raise unreadable(argument, path, error) from error
    raise IsADirectoryError(f"{argument}: {path} is a folder that contains {holds}, expected {expected}")

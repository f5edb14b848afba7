"""Where data are looked for: a wrong path is answered by what was found and what was expected, in one line."""

import os
from collections.abc import Sequence
from pathlib import Path

_LISTED = 6  # names in a message


def printable(name: object) -> str:
    """A name for a message: what would break its line or its encoding is written as an escape."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(name))


def listed(names: Sequence[str]) -> str:
    """The first few of some names."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return (printable(", ".join(names[:_LISTED])) + more) or "nothing"


def unreadable(argument: str, path: str | Path, error: OSError) -> OSError:
    """An error of the same kind, in one line, for a folder or file that the system does not let us read."""
    return type(error)(f"{argument}: {printable(path)} cannot be read ({error.strerror or error}): give this user the right to")


def contents(folder: Path) -> str:
    """What a folder holds, in a few words."""
    with os.scandir(folder) as entries:  # which knows the folders without another look at each
        return listed(sorted(entry.name + "/" * entry.is_dir() for entry in entries if not entry.name.startswith(".")))


def existing(path: str | Path, argument: str, expected: str) -> Path:
    """``path``, its ~ expanded; raises FileNotFoundError with the nearest parent that exists when there is no such file or folder."""
    if path is None:
        raise ValueError(f"{argument}: none was given, expected {expected}: experiments take it as --data")
    path = Path(path).expanduser()
    try:
        if path.exists():
            return path
        parent = next(parent for parent in path.absolute().parents if parent.is_dir())
        holds = contents(parent)
    except OSError as error:
        raise unreadable(argument, path, error) from error
    raise FileNotFoundError(f"{argument}: {path} does not exist ({parent} does, and holds {holds}), expected {expected}")


def existing_folder(path: str | Path, argument: str, expected: str) -> Path:
    """``path`` when it is a folder that holds something; raises FileNotFoundError or NotADirectoryError otherwise."""
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
    """``path`` when it is a file; raises FileNotFoundError or IsADirectoryError otherwise."""
    path = existing(path, argument, expected)
    if not path.is_dir():
        return path
    try:
        holds = contents(path)
    except OSError as error:
        raise unreadable(argument, path, error) from error
    raise IsADirectoryError(f"{argument}: {path} is a folder that holds {holds}, expected {expected}")

"""Where data are looked for: a wrong path is answered by what was found and what was expected, in one line."""

from pathlib import Path

_LISTED = 6  # names in a message


def contents(folder: Path) -> str:
    """What a folder holds, in a few words."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return (", ".join(names[:_LISTED]) + more) or "nothing"


def existing(path: str | Path, argument: str, expected: str) -> Path:
    """``path``, its ~ expanded; raises FileNotFoundError with the nearest parent that exists when there is no such file or folder."""
    if path is None:
        raise ValueError(f"{argument}: none was given, expected {expected}: experiments take it as --data")
    path = Path(path).expanduser()
    if path.exists():
        return path
    parent = next(parent for parent in path.absolute().parents if parent.is_dir())
    raise FileNotFoundError(f"{argument}: {path} does not exist ({parent} does, and holds {contents(parent)}), expected {expected}")


def existing_folder(path: str | Path, argument: str, expected: str) -> Path:
    """``path`` when it is a folder that holds something; raises FileNotFoundError or NotADirectoryError otherwise."""
    path = existing(path, argument, expected)
    if not path.is_dir():
        raise NotADirectoryError(f"{argument}: {path} is a file, expected {expected}")
    if contents(path) == "nothing":
        raise FileNotFoundError(f"{argument}: {path} is empty, expected {expected}")
    return path


def existing_file(path: str | Path, argument: str, expected: str) -> Path:
    """``path`` when it is a file; raises FileNotFoundError or IsADirectoryError otherwise."""
    path = existing(path, argument, expected)
    if path.is_dir():
        raise IsADirectoryError(f"{argument}: {path} is a folder that holds {contents(path)}, expected {expected}")
    return path

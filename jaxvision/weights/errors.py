"""The error for files of weights that cannot be read."""


class BrokenFile(ValueError):
    """A file of weights that cannot be read: truncated, damaged, of an unknown format, or a pickle that asks for other code.

    The message names the file and what was found in it. Nothing from the file has been run.

    >>> import pathlib, tempfile, jaxvision as jv
    >>> path = pathlib.Path(tempfile.mkdtemp(), "weights.pth")
    >>> _ = path.write_bytes(b"no weights")
    >>> jv.weights.read(path)
    Traceback (most recent call last):
    jaxvision.weights.errors.BrokenFile: ...weights.pth...
    """


def check_size(claimed: int, available: int, what: str) -> None:
    """Raise BrokenFile, before anything is allocated, if ``what`` claims more bytes than are available."""
    if not 0 <= claimed <= available:
        raise BrokenFile(f"{what} claims {claimed:,} bytes, but {available:,} are available")

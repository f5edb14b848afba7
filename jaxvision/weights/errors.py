"""The one error of reading: which file, and what was found in it."""


class BrokenFile(ValueError):
    """A file of weights that cannot be read: cut off, damaged, of another kind, or one that tries to do something."""


def bounded(claimed: int, held: int, what: str) -> None:
    """Refuse, before anything is allocated, what claims more bytes than there are. Raises BrokenFile."""
    if not 0 <= claimed <= held:
        raise BrokenFile(f"{what} claims {claimed:,} bytes where there are {held:,}")

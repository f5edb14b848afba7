"""Examples that could not be read: named once, counted by reason, and too many of them stop the run."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable

_NAMED = 5  # files in the message that stops a run


class TooManyBroken(ValueError):
    """A larger share of a source than the reader allows cannot be read."""


class Breakage:
    """The broken examples of a source of ``length`` examples that were met so far.

    ``share``: the part of the source that may be broken before TooManyBroken is raised. ``name``: what messages call the source.
    ``report``: gets a line for each file when it is first met; by default Python's logging, as a warning of "jaxvision".
    Raises ValueError for a ``share`` outside [0, 1].
    """

    def __init__(self, length: int, *, share: float = 0.01, name: str = "source", report: Callable[[str], None] | None = None):
        if not 0 <= share <= 1:
            raise ValueError(f"share: found {share}, expected the part of the examples that may be broken, 0 to 1")
        self.length, self.share, self.name = length, share, name
        self._report = report or logging.getLogger("jaxvision").warning
        self._errors: dict[int, ValueError] = {}

    @property
    def counts(self) -> dict[str, int]:
        """How many examples are broken, by reason."""
        return dict(Counter(error.reason for error in self._errors.values()))

    def beyond(self, count: int) -> bool:
        """Whether so many broken examples are too many; all of them always are."""
        return count > self.share * self.length or count >= self.length

    def add(self, broken: Iterable[tuple[int, ValueError]]) -> None:
        """Report the (index, BrokenImage) not met before; raises TooManyBroken when there are too many in all."""
        for index, error in broken:
            if index not in self._errors:
                self._errors[index] = error
                self._report(f"{self.name}: example {index} cannot be read and is left out: {error}")
        if self._errors and self.beyond(len(self._errors)):
            raise TooManyBroken(self._summary())

    def _summary(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.counts.items()))
        named = "; ".join(str(error) for error in list(self._errors.values())[:_NAMED])
        more = len(self._errors) - _NAMED
        return (
            f"{self.name}: {len(self._errors)} of {self.length} examples cannot be read ({reasons}), more than the allowed share of "
            f"{self.share:g}: {named}{f'; and {more} more' if more > 0 else ''}; mend or remove the files, or allow a larger share"
        )

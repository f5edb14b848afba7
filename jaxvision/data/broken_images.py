"""Examples that could not be read: named once, counted by reason, and too many of them stop the run."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable

from jaxvision.data.decoding import BrokenImage

_NAMED = 5  # files in the message that stops a run


class TooManyBroken(ValueError):
    """A larger share of a source than the reader allows cannot be read."""


class Breakage:
    """The broken examples of a source of ``length`` examples that were met so far.

    ``share``: the part of the source that may be broken before TooManyBroken is raised. ``name``: what messages call the source.
    ``alone=False``: other processes read the same source, and only ``learn`` raises, on all of them together. ``report``: gets a line
    for each file when it is first met; by default Python's logging, as a warning of "jaxvision".
    Raises ValueError for a ``share`` outside [0, 1].
    """

    def __init__(
        self,
        length: int,
        *,
        share: float = 0.01,
        name: str = "source",
        alone: bool = True,
        report: Callable[[str], None] | None = None,
    ):
        if not 0 <= share <= 1:
            raise ValueError(f"share: found {share}, expected the part of the examples that may be broken, 0 to 1")
        self.length, self.share, self.name, self.alone = length, share, name, alone
        self._report = report or logging.getLogger("jaxvision").warning
        self._errors: dict[int, BrokenImage] = {}
        self._told = 0  # how many of them other processes know
        self._streams: dict[str, Breakage] = {}

    @property
    def counts(self) -> dict[str, int]:
        """How many examples are broken, by reason."""
        return dict(Counter(error.reason for error in self._errors.values()))

    def of(self, name: str, length: int) -> "Breakage":
        """The count of a further stream of the same batches, with the same share and the same report."""
        if name not in self._streams:
            self._streams[name] = Breakage(length, share=self.share, name=f"{self.name}.{name}", alone=self.alone, report=self._report)
        return self._streams[name]

    def all(self) -> "list[Breakage]":
        """This count and those of the further streams."""
        return [self, *self._streams.values()]

    def untold(self) -> list[tuple[int, tuple[str, str, str]]]:
        """The (index, what its error is made of) met here that other processes may not know yet."""
        return [(index, error.args) for index, error in list(self._errors.items())[self._told :]]

    def learn(self, said: Iterable[tuple[int, tuple[str, str, str]]]) -> None:
        """Add what was met on any process; all of it counts as told."""
        self._note((index, BrokenImage(*parts)) for index, parts in said)
        self._told = len(self._errors)
        self.check()

    def beyond(self, count: int) -> bool:
        """Whether so many broken examples are too many; all of them always are."""
        return count > self.share * self.length or count >= self.length

    def add(self, broken: Iterable[tuple[int, BrokenImage]]) -> None:
        """Report the (index, BrokenImage) not met before; raises TooManyBroken when there are too many in all, if ``alone``."""
        self._note(broken)
        if self.alone:
            self.check()

    def check(self) -> None:
        """Raises TooManyBroken when there are too many."""
        if self._errors and self.beyond(len(self._errors)):
            raise TooManyBroken(self._summary())

    def _note(self, broken: Iterable[tuple[int, BrokenImage]]) -> None:
        for index, error in broken:
            if index not in self._errors:
                self._errors[index] = error
                self._report(f"{self.name}: example {index} cannot be read and is left out: {error}")

    def _summary(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.counts.items()))
        named = "; ".join(str(error) for error in list(self._errors.values())[:_NAMED])
        more = len(self._errors) - _NAMED
        return (
            f"{self.name}: {len(self._errors)} of {self.length} examples cannot be read ({reasons}), more than the allowed share of "
            f"{self.share:g}: {named}{f'; and {more} more' if more > 0 else ''}; mend or remove the files, or allow a larger share"
        )

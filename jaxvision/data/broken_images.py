"""Examples that cannot be read: each is reported once, they are counted by reason, and too many of them stop the run."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable

from jaxvision import checks
from jaxvision.data.decoding import BrokenImage

_FILES_IN_MESSAGE = 5


class TooManyBroken(ValueError):
    """Raised if a larger share of a source is broken than ``Breakage`` allows.

    >>> import jaxvision as jv
    >>> breakage = jv.data.Breakage(10, share=0.1, report=print)
    >>> breakage.add([(3, jv.data.BrokenImage("a.jpg", "empty"))])
    source: example 3 cannot be read and is skipped: a.jpg: the file is empty
    >>> try: breakage.add([(4, jv.data.BrokenImage("b.jpg", "empty"))])
    ... except jv.data.TooManyBroken: print("stopped")
    source: example 4 cannot be read and is skipped: b.jpg: the file is empty
    stopped
    """


class Breakage:
    """The broken examples of a source of ``length`` examples that were found so far.

    ``share``: the fraction of the source that may be broken before TooManyBroken is raised. ``name``: what messages call the source.
    ``single_process``: pass False if several processes read the source; then only ``merge`` raises, on all processes in the same step.
    ``report``: called with one line for each broken example when it is first found; by default a warning of the logger "jaxvision".

    Raises ValueError for a ``share`` outside [0, 1].

    >>> import jaxvision as jv
    >>> breakage = jv.data.Breakage(100, share=0.05, report=print)
    >>> breakage.add([(3, jv.data.BrokenImage("a.jpg", "empty"))])
    source: example 3 cannot be read and is skipped: a.jpg: the file is empty
    >>> breakage.counts
    {'empty': 1}
    """

    def __init__(
        self,
        length: int,
        *,
        share: float = 0.01,
        name: str = "source",
        single_process: bool = True,
        report: Callable[[str], None] | None = None,
    ):
        checks.fraction(share=share)
        self.length, self.share, self.name, self.single_process = length, share, name, single_process
        self._report = report or logging.getLogger("jaxvision").warning
        self._errors: dict[int, BrokenImage] = {}
        self._merged = 0  # how many of them all processes know
        self._streams: dict[str, Breakage] = {}

    @property
    def counts(self) -> dict[str, int]:
        """The number of broken examples by reason."""
        return dict(Counter(error.reason for error in self._errors.values()))

    def stream(self, name: str, length: int) -> "Breakage":
        """The count of an additional stream of the same batches, with the same share and report."""
        if name not in self._streams:
            options = {"share": self.share, "single_process": self.single_process, "report": self._report}
            self._streams[name] = Breakage(length, name=f"{self.name}.{name}", **options)
        return self._streams[name]

    def all(self) -> "list[Breakage]":
        """This count and those of the additional streams."""
        return [self, *self._streams.values()]

    def unmerged(self) -> list[tuple[int, tuple[str, str, str]]]:
        """(index, arguments of its BrokenImage) of the examples that other processes do not know yet."""
        return [(index, error.args) for index, error in list(self._errors.items())[self._merged :]]

    def merge(self, broken: Iterable[tuple[int, tuple[str, str, str]]]) -> None:
        """Add what ``unmerged`` returned on all processes. Raises TooManyBroken if there are too many in all."""
        self._record((index, BrokenImage(*parts)) for index, parts in broken)
        self._merged = len(self._errors)
        self.check()

    def too_many(self, count: int) -> bool:
        """Whether ``count`` broken examples are more than allowed. All examples of a source are always too many."""
        return count > self.share * self.length or count >= self.length

    def add(self, broken: Iterable[tuple[int, BrokenImage]]) -> None:
        """Record (index, BrokenImage) pairs and report the new ones. Raises TooManyBroken if there are too many and ``single_process``."""
        self._record(broken)
        if self.single_process:
            self.check()

    def check(self) -> None:
        """Raise TooManyBroken if there are too many."""
        if self._errors and self.too_many(len(self._errors)):
            raise TooManyBroken(self._summary())

    def _record(self, broken: Iterable[tuple[int, BrokenImage]]) -> None:
        for index, error in broken:
            if index not in self._errors:
                self._errors[index] = error
                self._report(f"{self.name}: example {index} cannot be read and is skipped: {error}")

    def _summary(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.counts.items()))
        files = "; ".join(str(error) for error in list(self._errors.values())[:_FILES_IN_MESSAGE])
        more = len(self._errors) - _FILES_IN_MESSAGE
        return (
            f"{self.name}: {len(self._errors)} of {self.length} examples cannot be read ({reasons}), more than the allowed share of "
            f"{self.share:g}: {files}{f'; and {more} more' if more > 0 else ''}; repair or remove the files, or allow a larger share"
        )

"""``RunOptions``: how a run is executed, as opposed to what it trains. The one list of these options."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from jaxvision import checks
from jaxvision.train import sharding

if TYPE_CHECKING:  # experiment.py imports this file
    from jaxvision.train.experiment import Experiment


def _option(default, meaning: str, *, command_line: bool = True) -> Any:
    return dataclasses.field(default=default, metadata={"meaning": meaning, "command_line": command_line})


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How a run is executed. A run may resume with other options: none of them changes what is trained.

    ``jv.train.main`` adds all of them but ``hint`` and ``draw`` to the command line of every experiment.
    Raises ValueError for a value that is out of range, an unknown ``driver``, and ``fsdp`` with another driver than jit.

    >>> import jaxvision as jv
    >>> options = jv.train.RunOptions(driver="shard_map", log_every=50)
    >>> options.driver, options.log_every, options.keep
    ('shard_map', 50, 2)
    """

    driver: sharding.Driver = _option("jit", "How the step is distributed over devices. The numbers are the same. By default jit.")
    fsdp: bool = _option(False, "Also split parameters and optimizer state over the devices (driver jit).")
    threads: int = _option(2, "Threads that read and decode images. By default 2.")
    resident: bool = _option(False, "Keep the training images on the device (small data sets in memory); batches hold indices only.")
    steps_per_call: int = _option(1, "Steps in one compiled program, for small models. A call ends where an epoch ends. By default 1.")
    remat: tuple[str, ...] | None = _option(
        None, "Names of the values kept for the backward pass, such as shortcut; all others are computed again, to save memory."
    )
    broken_share: float = _option(0.01, "Share of a data set that may be unreadable before the run stops. By default 0.01.")
    log_every: int = _option(10, "Steps between two training rows of metrics.jsonl. By default 10.")
    save_every: int | None = _option(None, "Steps that a kill may lose at most. By default an epoch, but 100 to 1,000 steps.")
    keep: int = _option(2, "How many of the newest checkpoints are kept, in addition to the best. By default 2.")
    guard: bool = _option(True, "Watch for collapsed features and report them, in the console and in summary.json. The run continues.")
    title: str = _option("", "What the console calls the run. By default the class of the model.")
    hint: str = _option("", "What to try next, printed at the end; {workdir} stands for the run folder.", command_line=False)
    draw: Callable | None = _option(
        None,
        "Draws further pictures at the end: (state on the host, images [n, H, W, C] in [0, 1], folder).",
        command_line=False,
    )

    def __post_init__(self) -> None:
        sharding.check_driver(self.driver, fsdp=self.fsdp)
        checks.integer("threads", self.threads, at_least=0)
        for name in ("steps_per_call", "log_every", "keep"):
            checks.integer(name, getattr(self, name))
        if self.save_every is not None:
            checks.integer("save_every", self.save_every)
        checks.fraction(broken_share=self.broken_share)

    def save_interval(self, experiment: "Experiment") -> int:
        """The number of steps that a kill may lose at most."""
        return self.save_every or min(max(100, -(-len(experiment.train) // experiment.batch_size)), 1000)

    def calls(self, experiment: "Experiment", start: int) -> Iterator[tuple[int, int]]:
        """The (first, last) step, counted from 1, of every call after step ``start``.

        A call has ``steps_per_call`` steps. It has fewer where an epoch ends, and at most half of ``save_interval``.
        """
        longest = min(self.steps_per_call, max(1, self.save_interval(experiment) // 2))
        ends = iter(sorted({*experiment.epoch_ends(), experiment.steps}))
        while start < experiment.steps:
            end = next(end for end in ends if end > start)
            while start < end:
                first, start = start + 1, min(start + longest, end)
                yield first, start


NAMES = tuple(field.name for field in dataclasses.fields(RunOptions))
COMMAND_LINE = {field.name: field for field in dataclasses.fields(RunOptions) if field.metadata["command_line"]}

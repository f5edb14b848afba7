"""The steps of a run: the compiled program, its batches, the metrics of each step."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import data, evaluate
from jaxvision.train import sharding
from jaxvision.train.experiment import Experiment
from jaxvision.train.logging import RunLog
from jaxvision.train.options import RunOptions
from jaxvision.train.prefetch import Feed
from jaxvision.train.state import TrainState
from jaxvision.train.step import make_step
from jaxvision.typing import Batch

_SKIPS_IN_A_ROW = 5  # after which a run stops


class NotFinite(RuntimeError):
    """Several updates in a row had a loss or gradient that was not finite.

    >>> import jaxvision as jv
    >>> issubclass(jv.train.NotFinite, RuntimeError)
    True
    """


class CollapseWatch:
    """Reports each sign of collapse when it is first seen; the run continues."""

    def __init__(self, log: RunLog):
        self._log, self._watch = log, evaluate.guard_init()  # a resumed run is watched from its first step on
        self.findings: list[dict] = []

    def see(self, step: int, metrics: dict[str, float]) -> None:
        """Look at the metrics of one step."""
        self._watch, found = evaluate.guard(self._watch, metrics, step)
        for finding in found:
            self.findings.append({"step": finding.step, "term": finding.term, "name": finding.name})
            self._log.line(str(finding))


class Stepping:
    """Runs the steps of a run. A call's metrics are read while the device works on the next call."""

    def __init__(self, experiment: Experiment, options: RunOptions, log: RunLog, breakage: data.Breakage):
        self._experiment, self._options, self._log = experiment, options, log
        step = make_step(
            experiment.objective,
            experiment.optimizer,
            augment=experiment.augment,
            accumulate=experiment.accumulate,
            ema=experiment.ema,
            remat=options.remat,
        )
        resident = {"image": experiment.train.take(np.arange(len(experiment.train)))["image"]} if options.resident else None
        several = options.steps_per_call > 1
        self._program = sharding.compile_step(step, driver=options.driver, fsdp=options.fsdp, resident=resident, in_a_row=several)
        self._key = jax.random.key(experiment.seed)
        self.feed = Feed(experiment, options, breakage=breakage)
        self.collapse = CollapseWatch(log) if options.guard else None
        self._unread: tuple[int, dict] | None = None  # (first step, metrics on the device) of the last call

    def step(self, state: TrainState, first: int, batch: Batch) -> TrainState:
        """The state after a call whose first step is ``first``."""
        state, metrics = self._program(state, batch, self._key)
        self.feed.runs(metrics["loss"])
        self.read()
        self._unread = (first, metrics)
        if self._options.steps_per_call > 1:  # a long call is waited for, so that a request to stop is seen at its end
            self.read()
        return state

    def read(self) -> None:
        """Log the metrics of the last call, if that is not done; raises NotFinite after too many skipped updates."""
        if self._unread is None:
            return
        (first, metrics), self._unread = self._unread, None
        found = {name: np.atleast_1d(values) for name, values in jax.device_get(metrics).items()}
        last = first + len(found["loss"]) - 1
        for step in range(first, last + 1):
            self._read_step(step, last, {name: float(values[step - first]) for name, values in found.items()})

    def _read_step(self, step: int, last: int, metrics: dict[str, float]) -> None:
        """Log one step's metrics, whose call ends with step ``last``."""
        in_row, metrics["skipped"] = int(metrics.pop("skipped_in_row")), int(metrics["skipped"])
        self._log.step(step, metrics, last=last)
        if self.collapse:
            self.collapse.see(step, metrics)
        if in_row == 1:
            self._log.line(f"step {step}: loss or gradient not finite, update skipped ({metrics['skipped']} so far)")
        if in_row >= _SKIPS_IN_A_ROW:
            steps = range(step - in_row + 1, step + 1)
            examples = "; ".join(f"step {number}: {', '.join(map(str, self._examples_of(number)))}" for number in steps)
            raise NotFinite(
                f"loss or gradient not finite in {in_row} updates in a row, steps {steps[0]} to {step}; parameters are those before step "
                f"{steps[0]}. A lower learning rate, a longer warm-up or clip_norm=1.0 usually helps. Training examples: {examples}"
            )

    def _examples_of(self, step: int) -> np.ndarray:
        """The indices [B] of the training examples that a step (from 1) reads."""
        size = self._experiment.batch_size
        return data.positions(len(self._experiment.train), (step - 1) * size, size, seed=self._experiment.seed)[0]

    def end_epoch(self, state: TrainState, epoch: int) -> None:
        """Log the means of an epoch's metrics; time is not counted until ``begin_epoch``."""
        sums = {name: float(value) for name, value in jax.device_get(state.sums).items()}
        updates = sums.pop("updates")
        means = {name: total / max(updates, 1) for name, total in sums.items()}
        self._log.epoch("train", int(state.step), epoch, means | self.feed.lap())

    def begin_epoch(self, state: TrainState, best: evaluate.Best) -> TrainState:
        """The state with empty sums and the best epoch so far, placed on the devices."""
        self.feed.resume()
        zeros = jax.tree.map(jnp.zeros_like, state.sums)
        return sharding.place(state._replace(sums=zeros, best=best), fsdp=self._options.fsdp)

"""Evaluation during a run: runs the model over a source in batches, computes its metrics and selects the best epoch."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxvision import data, evaluate
from jaxvision.evaluate.best_epoch import DIRECTIONS, mode_of, selecting_metric
from jaxvision.evaluate.metrics import combined
from jaxvision.train import sharding
from jaxvision.train.experiment import Experiment
from jaxvision.train.logging import RunLog
from jaxvision.train.options import RunOptions
from jaxvision.train.state import TrainState, variables
from jaxvision.typing import Batch

SUMMARY_FIELDS = (  # what summary.json holds besides the test metrics
    *("steps", "epochs", "skipped_updates", "best_step", "best_epoch", "validation", "broken", "collapse"),
    *("session_seconds", "training_seconds", "input_wait_seconds"),
)
_RESERVED = ("step", "epoch", "split", *SUMMARY_FIELDS)  # the other fields of a row of metrics.jsonl and of summary.json


class BrokenExamples:
    """Counts the examples of a run's sources that cannot be read, over all processes."""

    def __init__(self, experiment: Experiment, options: RunOptions, report: Callable[[str], None]):
        self._names = {id(getattr(experiment, name)): name for name in ("test", "validation", "train")}
        self._options = {"share": options.broken_share, "single_process": jax.process_count() == 1, "report": report}
        self._counts: dict[int, data.Breakage] = {}  # by the identity of the source

    def of(self, source: Any) -> data.Breakage:
        """The count of one source."""
        if id(source) not in self._counts:
            self._counts[id(source)] = data.Breakage(len(source), name=self._names.get(id(source), "source"), **self._options)
        return self._counts[id(source)]

    def _all(self) -> list[data.Breakage]:
        return [count for of_source in self._counts.values() for count in of_source.all()]

    def exchange(self) -> None:
        """Share the counts between the processes; raises TooManyBroken on all of them where there are too many."""
        counts = self._all()
        for reported in sharding.reported([count.unmerged() for count in counts]):
            for count, new in zip(counts, reported, strict=True):
                count.merge(new)

    def summary(self) -> dict[str, dict[str, int]]:
        """{source: {reason: count}} of the unreadable examples since the last start; sources without any are left out."""
        return {count.name: count.counts for count in self._all() if count.counts}


class Inference:
    """The model of an experiment, compiled over all devices: one program for each method that is called, and one for the metric."""

    def __init__(self, experiment: Experiment, options: RunOptions, broken: BrokenExamples):
        self._experiment, self._threads, self._broken = experiment, options.threads, broken
        self._programs: dict[str | None, Callable] = {}
        wanted = experiment.evaluate
        self.metric = combined(wanted) if isinstance(wanted, Mapping) else wanted if isinstance(wanted, evaluate.Metric) else None
        self._update = sharding.compile_update(self._updated)

    def _forward(self, model_variables: dict, batch: Batch, method: str | None = None) -> Any:
        experiment = self._experiment
        inputs = [evaluate.prepared(batch[name], experiment.recipe) if name == "image" else batch[name] for name in experiment.reads]
        return experiment.model.apply(model_variables, *inputs, **({"method": method} if method else {}))

    def _updated(self, model_variables: dict, metric_state: Any, batch: Batch) -> Any:
        return self.metric.update(metric_state, self._forward(model_variables, batch), batch)

    def _batches(self, source: Any) -> Iterator[dict]:
        """The evaluation batches of a source: this process's rows, of one shape, with ``valid``."""
        size = self._experiment.batch_size // self._experiment.accumulate
        rows, breakage = sharding.process_rows(size), self._broken.of(source)
        return data.padded_batches(source, size, rows=rows, threads=self._threads, breakage=breakage)

    def infer(self, model_variables: dict, source: Any, method: str | None = None) -> Iterator[tuple[Any, dict]]:
        """(outputs, batch) for every batch, as numpy arrays of all processes' rows without padding and unreadable examples."""
        several = jax.process_count() > 1  # then the other processes' rows come back from the devices
        if method not in self._programs:
            self._programs[method] = sharding.compile_forward(
                lambda given, batch: (self._forward(given, batch, method), batch if several else {})
            )
        for batch in self._batches(source):
            given = batch if several else {name: batch[name] for name in self._experiment.reads}
            outputs, everywhere = self._programs[method](model_variables, given)
            batch = everywhere or batch
            valid = np.asarray(batch["valid"])
            if valid.any():
                yield (outputs, batch) if valid.all() else jax.tree.map(lambda leaf: np.asarray(leaf)[valid], (outputs, batch))

    def compute(self, model_variables: dict, source: Any) -> dict[str, float]:
        """The experiment's metrics of a source."""
        if self.metric is None:
            return self._experiment.evaluate(lambda source, method=None: self.infer(model_variables, source, method), source)
        metric_state = sharding.place(jax.tree.map(np.asarray, self.metric.init()))
        for batch in self._batches(source):
            metric_state = self._update(model_variables, metric_state, batch)
        return self.metric.compute(jax.tree.map(np.asarray, metric_state))


class Evaluation:
    """Evaluates the model of a run, logs the metrics and remembers the best epoch."""

    def __init__(self, experiment: Experiment, inference: Inference, log: RunLog, broken: BrokenExamples, best: evaluate.Best):
        self.experiment, self._inference, self._log, self._broken = experiment, inference, log, broken
        self.best = jax.tree.map(np.asarray, best)  # the state's, on the host: reading it from there would wait for the device
        self._last: tuple[int, Any, dict] = (-1, None, {})  # (step, source, metrics) of the last evaluation
        self._announced = int(self.best.step) >= 0  # whether the metric that selects the best epoch has been printed

    @property
    def out_of_patience(self) -> bool:
        """Whether validation has not improved in as many evaluations as the experiment allows."""
        return self.experiment.patience is not None and int(self.best.stale) >= self.experiment.patience

    def infer_of(self, state: TrainState) -> Callable:
        """``infer(source, method=None)`` of the model in a state."""
        return lambda source, method=None: self._inference.infer(variables(state, self.experiment.evaluated), source, method)

    def metrics(self, state: TrainState, source: Any) -> dict[str, float]:
        """The experiment's metrics of a source, not computed again for the state and source of the last call.

        Raises ValueError for a metric that is no number or has a reserved name.
        """
        step, known = int(state.step), self._last
        if known[0] == step and known[1] is source:
            return known[2]
        computed = self._inference.compute(variables(state, self.experiment.evaluated), source)
        self._broken.exchange()
        found = {}
        for name, value in computed.items():
            if np.ndim(value) or name in _RESERVED:
                expected = f"a number under another name than {', '.join(_RESERVED)}"
                raise ValueError(f"evaluate: found {name!r} of shape {np.shape(value)}, expected {expected}")
            found[name] = float(value)
        if not found:
            raise ValueError("evaluate: found no metric, expected at least one")
        self._last = (step, source, found)
        return found

    def after_epoch(self, state: TrainState, epoch: int) -> None:
        """Evaluate the model at the end of an epoch, if that is due, and update ``best``."""
        experiment, step = self.experiment, int(state.step)
        name = "validation" if experiment.validation is not None else "test"
        source = getattr(experiment, name)
        if source is None or not experiment.evaluates(epoch):
            return
        found = self.metrics(state, source)
        self._log.epoch(name, step, epoch, found)
        if name == "test":
            return
        chosen = selecting_metric(found, experiment.best)
        mode = mode_of(chosen, experiment.mode)
        if experiment.best is None and not self._announced:
            self._announced = True
            self._log.line(f"best epoch: selected by validation {chosen}, {DIRECTIONS[mode]}")
        self.best, _ = evaluate.track(self.best, found[chosen], step, higher_is_better=mode == "max")

"""The one loop for every recipe: steps, epochs, evaluation, checkpoints, and the way back into all of them."""

import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import data, evaluate
from jaxvision.train import folder, pictures, sharding
from jaxvision.train.checkpoint import Checkpoints
from jaxvision.train.experiment import Experiment, check, check_sources, describe
from jaxvision.train.interruption import Interrupted, Interruption
from jaxvision.train.journal import Journal
from jaxvision.train.optimizers import peak_learning_rate
from jaxvision.train.state import TrainState, variables
from jaxvision.train.step import make_step
from jaxvision.typing import to_float

_SKIPS_IN_A_ROW = 5
_STEPS_BETWEEN_AGREEMENTS = 10  # how often processes ask one another whether one of them was told to stop


class NotFinite(RuntimeError):
    """Several updates in a row had a loss or gradient that was not finite."""


def _compile_infer(experiment: Experiment) -> Callable:
    """``infer(variables, source, method=None) -> (outputs [N, ...], labels [N])``, compiled once a method, on all devices."""
    programs: dict[str | None, Callable] = {}
    batch_size = experiment.batch_size // experiment.accumulate

    def forward(method: str | None, model_variables: dict, batch: dict):
        image = to_float(batch["image"])
        if experiment.recipe:
            image = jax.vmap(lambda one: experiment.recipe(None, one))(image)
        return experiment.model.apply(model_variables, image, **({"method": method} if method else {}))

    def infer(model_variables: dict, source, method: str | None = None):
        if method not in programs:
            programs[method] = sharding.compile_forward(lambda *inputs: forward(method, *inputs))
        program = programs[method]
        return evaluate.outputs(
            lambda batch: program(model_variables, {"image": batch["image"]}),
            source,
            batch_size=batch_size,
            rows=sharding.process_rows(batch_size),
            threads=experiment.threads,
        )

    return infer


class _Loop:
    """One run in progress: what it is made of, and the four things that happen in it."""

    def __init__(self, experiment: Experiment, checkpoints: Checkpoints, journal: Journal):
        self.experiment, self.checkpoints, self.journal = experiment, checkpoints, journal
        self.key = jax.random.key(experiment.seed)
        self.infer = _compile_infer(experiment)
        self.judged = ("validation", experiment.validation) if experiment.validation is not None else ("test", experiment.test)
        step = make_step(
            experiment.objective, experiment.optimizer, augment=experiment.augment, accumulate=experiment.accumulate, ema=experiment.ema
        )
        self.step = sharding.compile_step(step, driver=experiment.driver, fsdp=experiment.fsdp)

    def out_of_patience(self, state: TrainState) -> bool:
        """Whether validation has not improved for as many epochs as the experiment allows."""
        return self.experiment.patience is not None and int(state.best.stale) >= self.experiment.patience

    def train(self, state: TrainState, interruption: Interruption) -> TrainState:
        """All steps from ``state`` to the end of the run."""
        experiment, start, ends = self.experiment, int(state.step), self.experiment.epoch_ends()
        half = -(-experiment.save_interval // 2)  # a save in flight does not count yet, so that two saves share an interval
        batches = data.batches(
            experiment.train,
            experiment.batch_size,
            seed=experiment.seed,
            start=start,
            steps=experiment.steps - start,
            rows=sharding.process_rows(experiment.batch_size),
            threads=experiment.threads,
        )
        waiting = None  # the metrics of the step before, read while the device works on this one
        for number, batch in enumerate(batches, start + 1):
            if self.out_of_patience(state):
                break
            state, metrics = self.step(state, batch, self.key)
            self.read(waiting)
            waiting = (number, metrics)
            stop = self.asked_to_stop(interruption, number)
            if number in ends or number % half == 0 or number == experiment.steps or stop:
                self.read(waiting)
                waiting = None
            if number in ends:
                state = self.end_epoch(state, number, ends[number])
            fresh_best = int(state.best.step) == number
            if fresh_best or number % half == 0 or number == experiment.steps or stop or self.out_of_patience(state):
                self.save(state, number)
            if stop:
                self.checkpoints.wait()
                raise Interrupted(f"{stop}: saved step {number} of {experiment.steps}; the same command goes on from there")
        batches.close()
        return state

    def read(self, waiting: tuple | None) -> None:
        """Log one step's metrics; raises NotFinite after too many skipped updates."""
        if waiting is None:
            return
        number, metrics = waiting[0], {name: float(value) for name, value in jax.device_get(waiting[1]).items()}
        in_row = int(metrics.pop("skipped_in_row"))
        self.journal.step(number, metrics)
        if in_row >= _SKIPS_IN_A_ROW:
            first = number - in_row + 1
            size, length = self.experiment.batch_size, len(self.experiment.train)
            index, _ = data.positions(length, (number - 1) * size, size, seed=self.experiment.seed)
            raise NotFinite(
                f"loss or gradient not finite in {in_row} updates in a row, steps {first} to {number}; parameters are those before step "
                f"{first}. Step {number} read the training examples {', '.join(map(str, index[:32]))}{', ...' if size > 32 else ''}. "
                "A lower learning rate, a longer warm-up or clip_norm=1.0 usually helps"
            )

    def end_epoch(self, state: TrainState, number: int, epoch: int) -> TrainState:
        """Close the epoch's sums, judge the model, remember the best."""
        sums = {name: float(value) for name, value in jax.device_get(state.sums).items()}
        updates = sums.pop("updates")
        self.journal.epoch("train", number, epoch, {name: total / max(updates, 1) for name, total in sums.items()})
        name, source = self.judged
        best = state.best
        if source is not None:
            figures = self.experiment.evaluate(lambda *inputs: self.infer(variables(state), *inputs), source)
            self.journal.epoch(name, number, epoch, figures)
            if name == "validation":
                best = self.judge(best, figures, number)
        zeros = jax.tree.map(jnp.zeros_like, state.sums)
        return sharding.place(state._replace(sums=zeros, best=best), fsdp=self.experiment.fsdp)

    def judge(self, best: evaluate.Best, figures: dict, number: int) -> evaluate.Best:
        """The best so far with this epoch's figure in it."""
        name = self.experiment.best
        if name not in figures:
            raise ValueError(f"best: found {name!r}, but validation gives {', '.join(figures)}")
        tracked, _ = evaluate.track(best, figures[name], number, higher_is_better=name != "loss")
        return jax.tree.map(lambda new, old: np.asarray(new, old.dtype), tracked, best)

    def asked_to_stop(self, interruption: Interruption, number: int) -> str | None:
        """The name of the signal that asks for an end, the same on every process at the same step."""
        if jax.process_count() > 1 and number % _STEPS_BETWEEN_AGREEMENTS:
            return None
        return (interruption.requested or "asked to stop") if sharding.anywhere(interruption.requested is not None) else None

    def save(self, state: TrainState, number: int) -> None:
        """Start a checkpoint, once every row up to its step is on disk."""
        self.journal.sync()
        self.checkpoints.save(state, step=number, best=int(state.best.step))


def _resume(experiment: Experiment, state: TrainState, checkpoints: Checkpoints, workdir: Path) -> tuple[TrainState, list[str]]:
    """The newest sound state of the run folder, if it has one, and the lines that say so."""
    lines: list[str] = []
    checkpoints.clean()
    newest = checkpoints.latest(report=lines.append)
    if newest is None:
        return state, lines
    reached = max((row["step"] for row in Journal.rows(workdir)), default=newest)
    lines.append(
        f"resumed at step {newest} of {experiment.steps} (epoch {experiment.epoch_of(newest + 1)}): "
        f"{max(reached - newest, 0)} logged steps are repeated, of at most {experiment.save_interval} (the save interval)"
    )
    return checkpoints.restore(newest, state), lines


def _finish(loop: _Loop, state: TrainState, workdir: Path, seconds: float) -> TrainState:
    """Take the best epoch, judge it on the test data, draw, and say how it went."""
    experiment, journal, last = loop.experiment, loop.journal, int(state.step)
    best = int(state.best.step)
    if best >= 0 and best != last:
        state = loop.checkpoints.restore(best, state)
    summary = {"steps": last, "epochs": min(experiment.epochs, last * experiment.batch_size // len(experiment.train))}
    if best >= 0:
        summary |= {
            "best_step": best,
            "best_epoch": experiment.epoch_ends()[best],
            f"validation_{experiment.best}": float(state.best.value),
        }
    if experiment.test is not None:
        figures = experiment.evaluate(lambda *inputs: loop.infer(variables(state), *inputs), experiment.test)
        if best >= 0 and not any(row["split"] == "test" for row in Journal.rows(workdir)):
            journal.epoch("test", last, summary["epochs"], figures)
        summary |= figures
    summary["session_seconds"] = seconds
    journal.sync()
    if sharding.is_primary():
        pictures.draw(
            experiment, state, Journal.rows(workdir), lambda source: loop.infer(variables(state), source), workdir / "plots", journal.line
        )
        folder.write_json(workdir / "summary.json", summary)
    for line in _closing(experiment, summary, workdir):
        journal.line(line)
    return state


def _closing(experiment: Experiment, summary: dict, workdir: Path) -> list[str]:
    name = next((name for name in (experiment.best, "top1", "loss") if name in summary), None)
    lines = []
    if name:
        value = summary[name]
        chosen = f" (best epoch {summary['best_epoch']} on validation)" if "best_epoch" in summary else ""
        lines.append(f"test {name} {value:.4f}{chosen}" if name == "loss" else f"test {name} {value:.2%}{chosen}")
    lines.append(f"run folder: {workdir} (metrics.jsonl, plots/, checkpoints/, summary.json)")
    return lines + ([f"try next: {experiment.hint.format(workdir=workdir)}"] if experiment.hint else [])


def run(experiment: Experiment, workdir: str | Path, *, origin: dict | None = None) -> TrainState:
    """Train, evaluate and keep everything in ``workdir``; called again with the same experiment, go on or say that it is complete.

    Returns the trained state: the best epoch's where ``validation`` selects one, else the last. ``jv.train.variables(state)`` are the
    model's. ``origin`` is what ``config.json`` keeps so that ``load`` can build the experiment again; ``main`` passes it.

    SIGTERM or Ctrl-C finishes the step, saves and raises Interrupted (exit code 75); a second one ends the process at once.
    Raises ValueError for settings or data that could not work and for a folder that holds another run, NotFinite after five updates
    in a row without a finite loss and gradient, DamagedCheckpoint where no checkpoint is sound.
    """
    workdir = Path(workdir)
    check_sources(experiment)
    state = folder.fresh(experiment)
    check(experiment, state.params)
    folder.claim(workdir, folder.settings(experiment, origin))
    rate = peak_learning_rate(experiment.optimizer, state.params, experiment.steps)
    state = sharding.place(state, fsdp=experiment.fsdp)
    checkpoints = Checkpoints(workdir / "checkpoints", keep=experiment.keep)
    with Interruption() as interruption:
        try:
            if (workdir / "summary.json").is_file():
                print(f"{workdir}: this run is complete; delete the folder or give another --workdir to train again")
                for line in _closing(experiment, folder.read_json(workdir / "summary.json"), workdir):
                    print(line)
                return folder.restore(experiment, workdir)
            state, lines = _resume(experiment, state, checkpoints, workdir)
            if sharding.is_primary():
                folder.write_json(workdir / "environment.json", folder.environment())
            with Journal(experiment, workdir, step=int(state.step)) as journal:
                for line in [*describe(experiment, rate), *lines]:
                    journal.line(line)
                loop, begun = _Loop(experiment, checkpoints, journal), time.perf_counter()
                state = loop.train(state, interruption)
                checkpoints.wait()
                return _finish(loop, state, workdir, time.perf_counter() - begun)
        finally:
            checkpoints.close()

"""The one loop for every recipe: steps, epochs, evaluation, checkpoints, and the way back into all of them."""

import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import data, evaluate
from jaxvision.train import pictures, run_folder, sharding
from jaxvision.train.checkpoint import Checkpoints, DamagedCheckpoint
from jaxvision.train.experiment import Experiment, check, check_sources, describe
from jaxvision.train.journal import Journal
from jaxvision.train.optimizers import peak_learning_rate
from jaxvision.train.prefetch import Feed
from jaxvision.train.signals import Interrupted, Interruption
from jaxvision.train.state import TrainState, variables
from jaxvision.train.step import make_step

_SKIPS_IN_A_ROW = 5
_STEPS_BETWEEN_AGREEMENTS = 10  # how often processes tell one another what they could not read, and whether they are to stop


class NotFinite(RuntimeError):
    """Several updates in a row had a loss or gradient that was not finite."""


def _compile_infer(experiment: Experiment, breakage_of: Callable) -> Callable:
    """``infer(variables, source, method=None) -> (outputs [N, ...], labels [N])``, compiled once a method, on all devices.

    ``breakage_of(source)`` counts its broken examples.
    """
    programs: dict[str | None, Callable] = {}
    batch_size = experiment.batch_size // experiment.accumulate

    def forward(method: str | None, model_variables: dict, batch: dict):
        inputs = [evaluate.prepared(batch[name], experiment.recipe) if name == "image" else batch[name] for name in experiment.reads]
        return experiment.model.apply(model_variables, *inputs, **({"method": method} if method else {})), batch["valid"]

    def infer(model_variables: dict, source, method: str | None = None):
        if method not in programs:
            programs[method] = sharding.compile_forward(lambda *inputs: forward(method, *inputs))
        program = programs[method]
        return evaluate.outputs(
            lambda batch: program(model_variables, {name: batch[name] for name in (*experiment.reads, "valid")}),
            source,
            batch_size=batch_size,
            rows=sharding.process_rows(batch_size),
            threads=experiment.threads,
            breakage=breakage_of(source),
        )

    return infer


def selecting_figure(experiment: Experiment, figures: dict) -> str:
    """The validation figure that selects the epoch. Raises ValueError where the one asked for is not there."""
    wanted = (experiment.best,) if experiment.best else ("top1", "map", "loss")
    for name in wanted:
        if name in figures:
            return name
    raise ValueError(f"best: expected one of {', '.join(wanted)} to select the epoch by, but validation gives {', '.join(figures)}")


class _Loop:
    """One run in progress: what it is made of, and what happens in it."""

    def __init__(self, experiment: Experiment, checkpoints: Checkpoints, journal: Journal):
        self.experiment, self.checkpoints, self.journal = experiment, checkpoints, journal
        self.key = jax.random.key(experiment.seed)
        self.broken: dict[int, data.Breakage] = {}  # by the identity of the source
        self.infer = _compile_infer(experiment, self.breakage_of)
        self.judged = ("validation", experiment.validation) if experiment.validation is not None else ("test", experiment.test)
        how = {name: getattr(experiment, name) for name in ("augment", "accumulate", "ema", "remat")}
        step = make_step(experiment.objective, experiment.optimizer, **how)
        resident = {"image": experiment.train.take(np.arange(len(experiment.train)))["image"]} if experiment.resident else None
        options = {"driver": experiment.driver, "fsdp": experiment.fsdp, "in_a_row": experiment.steps_per_call > 1}
        self.step = sharding.compile_step(step, resident=resident, **options)
        self.feed = Feed(experiment, breakage=self.breakage_of(experiment.train))
        self.judged_last: tuple[int, Callable] = (-1, lambda source: None)  # the last step judged, and its inference
        self.watch, self.collapse = evaluate.guard_init(), []  # a resumed run is watched from its first step on
        self.best = evaluate.Best()  # the state's, on the host: reading it from there would wait for the device

    def breakage_of(self, source) -> data.Breakage:
        """The count of a source's broken examples."""
        if id(source) not in self.broken:
            named = (name for name in ("train", "validation", "test") if getattr(self.experiment, name) is source)
            options = {"share": self.experiment.broken_share, "single_process": jax.process_count() == 1, "report": self.journal.line}
            self.broken[id(source)] = data.Breakage(len(source), name=next(named, "source"), **options)
        return self.broken[id(source)]

    def out_of_patience(self) -> bool:
        """Whether validation has not improved in as many judgements as the experiment allows."""
        return self.experiment.patience is not None and int(self.best.stale) >= self.experiment.patience

    def train(self, state: TrainState, interruption: Interruption) -> TrainState:
        """All steps from ``state`` to the end of the run."""
        experiment, start, ends = self.experiment, int(state.step), self.experiment.epoch_ends()
        half = max(1, experiment.save_interval // 2)  # a save in flight does not count yet, so that two saves share an interval
        self.best = jax.tree.map(np.asarray, state.best)
        calls = self.feed.calls(start)
        waiting = None  # the metrics of the call before, read while the device works on this one
        for first, number, batch in calls:
            if self.out_of_patience():
                break
            state, metrics = self.step(state, batch, self.key)
            self.feed.runs(metrics["loss"])
            self.read(waiting)
            waiting = (first, metrics)
            if experiment.steps_per_call > 1:  # so long a call is waited for: who asks for an end meanwhile gets it when it is over
                self.read(waiting)
                waiting = None
            stop = self.asked_to_stop(interruption, first, number)
            due = number // half > (first - 1) // half or number == experiment.steps
            if number in ends or due or stop:
                self.read(waiting)
                waiting = None
            if number in ends:
                state = self.end_epoch(state, number, ends[number])
            fresh_best = int(self.best.step) == number
            if fresh_best or due or stop or self.out_of_patience():
                self.save(state, number)
            if stop:
                self.checkpoints.wait()
                raise Interrupted(f"{stop}: saved step {number} of {experiment.steps}; the same command goes on from there")
        calls.close()
        self.checkpoints.wait()
        if asked := next(filter(None, sharding.told(interruption.requested)), None):
            raise Interrupted(f"{asked}: training is over and saved; the same command evaluates it")
        return state

    def read(self, waiting: tuple | None) -> None:
        """Log the metrics of a call's steps; raises NotFinite after too many skipped updates."""
        if waiting is None:
            return
        first, found = waiting[0], {name: np.atleast_1d(values) for name, values in jax.device_get(waiting[1]).items()}
        last = first + len(found["loss"]) - 1
        for number in range(first, last + 1):
            self.read_step(number, last, {name: float(values[number - first]) for name, values in found.items()})

    def read_step(self, number: int, last: int, metrics: dict[str, float]) -> None:
        """Log one step's metrics, whose call ends with step ``last``; raises NotFinite after too many skipped updates."""
        in_row, metrics["skipped"] = int(metrics.pop("skipped_in_row")), int(metrics["skipped"])
        self.journal.step(number, metrics, last=last)
        self.guard(number, metrics)
        if in_row == 1:
            self.journal.line(f"step {number}: loss or gradient not finite, update skipped ({metrics['skipped']} so far)")
        if in_row >= _SKIPS_IN_A_ROW:
            steps = range(number - in_row + 1, number + 1)
            examples = "; ".join(f"step {step}: {', '.join(map(str, self.examples_of(step)))}" for step in steps)
            raise NotFinite(
                f"loss or gradient not finite in {in_row} updates in a row, steps {steps[0]} to {number}; parameters are those before step "
                f"{steps[0]}. A lower learning rate, a longer warm-up or clip_norm=1.0 usually helps. Training examples: {examples}"
            )

    def guard(self, number: int, metrics: dict[str, float]) -> None:
        """Say what the collapse guard sees for the first time; the run goes on."""
        if not self.experiment.guard:
            return
        self.watch, findings = evaluate.guard(self.watch, metrics, number)
        for finding in findings:
            self.collapse.append({"step": finding.step, "term": finding.term, "name": finding.name})
            self.journal.line(str(finding))

    def examples_of(self, step: int) -> np.ndarray:
        """The indices [B] of the training examples that a step (from 1) reads."""
        size = self.experiment.batch_size
        return data.positions(len(self.experiment.train), (step - 1) * size, size, seed=self.experiment.seed)[0]

    def end_epoch(self, state: TrainState, number: int, epoch: int) -> TrainState:
        """Close the epoch's sums, judge the model, remember the best."""
        sums = {name: float(value) for name, value in jax.device_get(state.sums).items()}
        updates = sums.pop("updates")
        means = {name: total / max(updates, 1) for name, total in sums.items()}
        self.journal.epoch("train", number, epoch, means | self.feed.lap())
        name, source = self.judged
        if source is not None and self.experiment.judges(epoch):
            self.judged_last = (number, self.inference(state))
            figures = self.judge(self.judged_last[1], source)
            self.journal.epoch(name, number, epoch, figures)
            if name == "validation":
                chosen = selecting_figure(self.experiment, figures)
                self.best, _ = evaluate.track(self.best, figures[chosen], number, higher_is_better=not chosen.endswith("loss"))
        self.feed.resume()
        zeros = jax.tree.map(jnp.zeros_like, state.sums)
        return sharding.place(state._replace(sums=zeros, best=self.best), fsdp=self.experiment.fsdp)

    def inference(self, state: TrainState) -> Callable:
        """``infer(source, method=None)`` of the model in a state; what it has run once it remembers."""
        model_variables, known = variables(state), {}

        def infer(source, method: str | None = None):
            if (id(source), method) not in known:
                known[id(source), method] = self.infer(model_variables, source, method)
            return known[id(source), method]

        return infer

    def judge(self, infer: Callable, source) -> dict[str, float]:
        """The experiment's figures of a source."""
        figures = self.experiment.evaluate(infer, source)
        self.share_broken()
        return {name: float(value) for name, value in figures.items()}

    def asked_to_stop(self, interruption: Interruption, first: int, last: int) -> str | None:
        """The name of the signal that asks for an end after the call of these steps, the same on every process at the same step."""
        if jax.process_count() > 1 and last // _STEPS_BETWEEN_AGREEMENTS == (first - 1) // _STEPS_BETWEEN_AGREEMENTS:
            return None
        self.share_broken()
        return next(filter(None, sharding.told(interruption.requested)), None)

    def share_broken(self) -> None:
        """Every process learns what the others could not read; raises TooManyBroken on all of them where that is too much."""
        counts = [count for of_source in self.broken.values() for count in of_source.all()]
        for said in sharding.told([count.unmerged() for count in counts]):
            for count, new in zip(counts, said, strict=True):
                count.merge(new)

    def save(self, state: TrainState, number: int) -> None:
        """Start a checkpoint, once every row up to its step is on disk."""
        self.journal.sync()
        self.checkpoints.save(state, step=number, best=int(self.best.step))
        if self.experiment.save_interval == 1:
            self.checkpoints.wait()


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


def _best_state(loop: _Loop, state: TrainState) -> TrainState:
    """The best epoch's state where validation selected one and its checkpoint is sound, else the last."""
    best = int(loop.best.step)
    if best < 0 or best == int(state.step):
        return state
    try:
        return loop.checkpoints.restore(best, state)
    except DamagedCheckpoint as damage:
        loop.journal.line(f"the best epoch's checkpoint is damaged ({damage}): the last step is taken instead")
        return state


def _finish(loop: _Loop, state: TrainState, workdir: Path, seconds: float, filters: np.ndarray | None) -> TrainState:
    """Take the best epoch, judge it on the test data, keep the figures, draw (the ``filters`` before training too), and say how it went."""
    experiment, journal, last = loop.experiment, loop.journal, int(state.step)
    summary = {"steps": last, "epochs": min(experiment.epochs, last * experiment.batch_size // len(experiment.train))}
    summary |= {"skipped_updates": int(state.skipped[0])}
    state = _best_state(loop, state)
    if int(loop.best.step) >= 0:
        taken = int(state.step)
        summary |= {"best_step": taken, "best_epoch": experiment.epoch_ends().get(taken), "validation": float(loop.best.value)}
    step, infer = loop.judged_last
    infer = infer if step == int(state.step) else loop.inference(state)
    if experiment.test is not None:
        figures = loop.judge(infer, experiment.test)
        if experiment.validation is not None and not any(row["split"] == "test" for row in Journal.rows(workdir)):
            journal.epoch("test", last, summary["epochs"], figures)
        summary |= figures
    loop.share_broken()
    if found := {count.name: count.counts for of_source in loop.broken.values() for count in of_source.all() if count.counts}:
        summary["broken"] = found  # met since this session began, by source and reason
    summary |= {"collapse": loop.collapse} if loop.collapse else {}  # seen since this session began
    summary |= {"session_seconds": seconds} | loop.feed.total
    journal.sync()
    if sharding.is_primary():
        run_folder.write_json(workdir / "summary.json", summary)
    pictures.draw(experiment, state, Journal.rows(workdir), infer, workdir / "plots", journal.line, before=filters)
    if summary["training_seconds"]:
        share = summary["input_wait_seconds"] / summary["training_seconds"]
        journal.line(f"the devices waited for input {share:.1%} of the training time of this session")
    for line in _closing(experiment, summary, workdir):
        journal.line(line)
    return state


def _closing(experiment: Experiment, summary: dict, workdir: Path) -> list[str]:
    name = next((name for name in ("top1", "map", "loss") if name in summary), None)
    lines = []
    if name:
        chosen = f" (best epoch {summary['best_epoch']} on validation)" if "best_epoch" in summary else ""
        lines.append(f"test {name} {format(summary[name], '.4f' if name == 'loss' else '.2%')}{chosen}")
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
    with Interruption() as interruption:
        check_sources(experiment)
        state = run_folder.fresh(experiment)
        check(experiment, state.params)
        rate = peak_learning_rate(experiment.optimizer, state.params, experiment.steps)
        run_folder.claim(workdir, run_folder.settings(experiment, origin, rate))
        if (workdir / "summary.json").is_file():
            return _completed(experiment, workdir)
        with run_folder.held(workdir):
            return _run(experiment, sharding.place(state, fsdp=experiment.fsdp), workdir, interruption, rate)


def _completed(experiment: Experiment, workdir: Path) -> TrainState:
    """Say that a run is complete, and give its state."""
    if sharding.is_primary():
        print(f"{workdir}: this run is complete; delete the folder or give another --workdir to train again")
        for line in _closing(experiment, run_folder.read_json(workdir / "summary.json"), workdir):
            print(line)
    return run_folder.restore(experiment, workdir)


def _run(experiment: Experiment, state: TrainState, workdir: Path, interruption: Interruption, rate: float | None) -> TrainState:
    """From wherever the run folder is to the end of the run."""
    checkpoints, filters = Checkpoints(workdir / "checkpoints", keep=experiment.keep), pictures.first_filters(state)
    try:
        state, lines = _resume(experiment, state, checkpoints, workdir)
        if sharding.is_primary():
            run_folder.write_json(workdir / "environment.json", run_folder.environment())
        with Journal(experiment, workdir, step=int(state.step)) as journal:
            for line in [*describe(experiment, rate), *lines]:
                journal.line(line)
            loop, begun = _Loop(experiment, checkpoints, journal), time.perf_counter()
            state = loop.train(state, interruption)
            return _finish(loop, state, workdir, time.perf_counter() - begun, filters)
    finally:
        checkpoints.close()

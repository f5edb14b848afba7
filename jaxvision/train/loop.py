"""``run``: the one loop of every experiment, in five stages: check, identify, resume, loop, finish."""

import contextlib
import time
from pathlib import Path
from typing import NamedTuple

import jax

from jaxvision.train import pictures, run_folder, sharding
from jaxvision.train.checkpoint import Checkpoints
from jaxvision.train.evaluation import SUMMARY_FIELDS, BrokenExamples, Evaluation, Inference
from jaxvision.train.experiment import Experiment, check_modules, check_settings, describe
from jaxvision.train.logging import RunLog, rows_of
from jaxvision.train.options import RunOptions
from jaxvision.train.recorded_rate import peak_learning_rate
from jaxvision.train.saving import Saving
from jaxvision.train.signals import Interrupted, Interruption
from jaxvision.train.state import Initializer, TrainState
from jaxvision.train.stepping import Stepping

_STEPS_BETWEEN_EXCHANGES = 10  # how often processes exchange what they could not read, and whether they are to stop


class _Start(NamedTuple):
    """A run that has passed its checks."""

    experiment: Experiment
    options: RunOptions
    workdir: Path
    initializer: Initializer
    template: TrainState  # shapes, types and places of a state
    learning_rate: float | None  # at its peak, where the optimizer shows it


class _Session(NamedTuple):
    """A run in progress."""

    start: _Start
    log: RunLog
    stepping: Stepping
    evaluation: Evaluation
    saving: Saving
    broken: BrokenExamples


def _check(experiment: Experiment, options: RunOptions, workdir: Path) -> _Start:
    """Raise ValueError for what could not work, before anything is computed or written."""
    check_settings(experiment, options)
    initializer = experiment.initializer(broken_share=options.broken_share)
    template = initializer.template()
    check_modules(experiment, template.params)
    rate = peak_learning_rate(experiment.optimizer, template.params, experiment.steps)
    return _Start(experiment, options, workdir, initializer, sharding.placed_template(template, fsdp=options.fsdp), rate)


def _identify(start: _Start, origin: dict | None) -> bool:
    """Make the run folder, or make sure that it holds this very run; whether the run is complete."""
    run_folder.claim(start.workdir, run_folder.settings(start.experiment, start.options, origin, start.learning_rate))
    return (start.workdir / "summary.json").is_file()


def _resume(start: _Start, checkpoints: Checkpoints) -> tuple[TrainState, list[str]]:
    """The newest sound state of the run folder, else the initial one; and the lines that report it."""
    experiment, lines = start.experiment, []
    checkpoints.clean()
    newest = checkpoints.latest(report=lines.append)
    if newest is None:
        state = sharding.place(start.initializer.state(), fsdp=start.options.fsdp)
        pictures.keep_first_filters(experiment, state, start.workdir / "plots")
        return state, lines
    reached = max((row["step"] for row in rows_of(start.workdir)), default=newest)
    lines.append(
        f"resumed at step {newest} of {experiment.steps} (epoch {experiment.epoch_of(newest + 1)}): "
        f"{max(reached - newest, 0)} logged steps are repeated, of at most {start.options.save_interval(experiment)} (the save interval)"
    )
    return checkpoints.restore(newest, start.template), lines


@contextlib.contextmanager
def _session(start: _Start, state: TrainState, checkpoints: Checkpoints, lines: list[str]):
    """The parts of a run that resumes from ``state``; ``lines`` are printed after the description of the run."""
    experiment, options, workdir = start.experiment, start.options, start.workdir
    if sharding.is_primary():
        run_folder.write_json(workdir / "environment.json", run_folder.environment())
    with RunLog(experiment, options, workdir, step=int(state.step)) as log:
        for line in [*describe(experiment, options, start.learning_rate), *lines]:
            log.line(line)
        broken = BrokenExamples(experiment, options, log.line)
        stepping = Stepping(experiment, options, log, broken.of(experiment.train))
        evaluation = Evaluation(experiment, Inference(experiment, options, broken), log, broken, state.best)
        yield _Session(start, log, stepping, evaluation, Saving(experiment, options, checkpoints, log, start.template), broken)


def _loop(session: _Session, state: TrainState, interruption: Interruption) -> TrainState:
    """All steps from ``state`` to the end of the run."""
    experiment, stepping, evaluation, saving = session.start.experiment, session.stepping, session.evaluation, session.saving
    ends = experiment.epoch_ends()
    with contextlib.closing(stepping.feed.calls(int(state.step))) as calls:
        for first, last, batch in calls:
            if evaluation.out_of_patience:
                break
            state = stepping.step(state, first, batch)
            stop, is_due = _request_to_stop(session, interruption, first, last), saving.is_due(first, last)
            if last in ends or is_due or stop:
                stepping.read()
            if last in ends:
                stepping.end_epoch(state, ends[last])
                evaluation.after_epoch(state, ends[last])
                state = stepping.begin_epoch(state, evaluation.best)
            best_step = int(evaluation.best.step)
            if best_step == last or is_due or stop or evaluation.out_of_patience:
                saving.save(state, best_step)
            if stop:
                saving.wait()
                raise Interrupted(f"{stop}: saved step {last} of {experiment.steps}; run the same command to resume")
    saving.wait()
    if stop := next(filter(None, sharding.reported(interruption.requested)), None):
        raise Interrupted(f"{stop}: training is complete and saved; run the same command to evaluate")
    return state


def _request_to_stop(session: _Session, interruption: Interruption, first: int, last: int) -> str | None:
    """The name of the signal that asks to stop after the call of these steps, the same on every process at the same step."""
    if jax.process_count() > 1 and last // _STEPS_BETWEEN_EXCHANGES == (first - 1) // _STEPS_BETWEEN_EXCHANGES:
        return None
    session.broken.exchange()
    return next(filter(None, sharding.reported(interruption.requested)), None)


def _finish(session: _Session, state: TrainState, seconds: float) -> TrainState:
    """Restore the best epoch, evaluate it on the test data, write summary.json, draw the pictures, print the result."""
    experiment, options, workdir = session.start.experiment, session.start.options, session.start.workdir
    log, evaluation, last = session.log, session.evaluation, int(state.step)
    summary = {"steps": last, "epochs": min(experiment.epochs, last * experiment.batch_size // len(experiment.train))}
    summary |= {"skipped_updates": int(state.skipped[0])}
    state = session.saving.best(state, int(evaluation.best.step))
    if int(evaluation.best.step) >= 0:
        chosen = int(state.step)
        summary |= {"best_step": chosen, "best_epoch": experiment.epoch_ends().get(chosen), "validation": float(evaluation.best.value)}
    if experiment.test is not None:
        metrics = evaluation.metrics(state, experiment.test)
        if experiment.validation is not None and not any(row["split"] == "test" for row in rows_of(workdir)):
            log.epoch("test", last, summary["epochs"], metrics)
        summary |= metrics
    session.broken.exchange()
    if broken := session.broken.summary():
        summary["broken"] = broken
    if session.stepping.collapse and session.stepping.collapse.findings:
        summary["collapse"] = session.stepping.collapse.findings  # since the last start
    summary |= {"session_seconds": seconds} | session.stepping.feed.total
    log.sync()
    if sharding.is_primary():
        run_folder.write_json(workdir / "summary.json", summary)
    pictures.draw(experiment, options, state, rows_of(workdir), evaluation.infer_of(state), workdir / "plots", log.line)
    if summary["training_seconds"]:
        share = summary["input_wait_seconds"] / summary["training_seconds"]
        log.line(f"the devices waited for input {share:.1%} of the training time since the last start")
    for line in _closing_lines(session.start, summary):
        log.line(line)
    return state


def _closing_lines(start: _Start, summary: dict) -> list[str]:
    """What is printed at the end: the test metrics, the run folder, the hint."""
    metrics, lines = {name: value for name, value in summary.items() if name not in SUMMARY_FIELDS}, []
    if metrics:
        chosen = f" (best epoch {summary['best_epoch']} on validation)" if "best_epoch" in summary else ""
        lines.append("test " + run_folder.result_of(metrics, start.experiment.best) + chosen)
    lines.append(f"run folder: {start.workdir} (metrics.jsonl, plots/, checkpoints/, summary.json)")
    return lines + ([f"try next: {start.options.hint.format(workdir=start.workdir)}"] if start.options.hint else [])


def _completed(start: _Start) -> TrainState:
    """Report that a run is complete, and return its state."""
    if sharding.is_primary():
        print(f"{start.workdir}: this run is complete; delete the folder or give another --workdir to train again")
        for line in _closing_lines(start, run_folder.read_json(start.workdir / "summary.json")):
            print(line)
    return run_folder.restored(start.workdir, start.template)


def run(experiment: Experiment, workdir: str | Path, options: RunOptions = RunOptions(), *, origin: dict | None = None) -> TrainState:
    """Train, evaluate and keep everything in ``workdir``. Called again with the same experiment, resume, or report that it is complete.

    Returns the trained state: the best epoch's where ``validation`` selects one, else the last. ``jv.train.variables(state)`` are the
    model's. ``options`` say how the run is executed; it may resume with others. ``origin`` is what ``config.json`` holds so that ``load``
    can build the experiment again; ``main`` passes it.

    SIGTERM or Ctrl-C finishes the step, saves and raises Interrupted (exit code 75); a second one ends the process at once.
    Raises ValueError for settings or data that could not work and for a folder that holds another run, NotFinite after five updates
    in a row without a finite loss and gradient, DamagedCheckpoint where no checkpoint is sound.

    >>> import tempfile, jaxvision as jv  # slow
    >>> model, source = jv.create_model("lenet5", num_classes=10), jv.data.subset(jv.data.digits("train"), range(64))
    >>> experiment = jv.train.Experiment(model, jv.objectives.supervised(model), jv.train.sgd(0.1), source, epochs=1, batch_size=32)
    >>> options = jv.train.RunOptions(log_every=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     state = jv.train.run(experiment, folder, options)  # doctest: +ELLIPSIS
    LeNet5: 64 training examples...
    """
    with Interruption() as interruption:
        start = _check(experiment, options, Path(workdir))
        if _identify(start, origin):
            return _completed(start)
        with (
            run_folder.held(start.workdir),
            contextlib.closing(Checkpoints(start.workdir / "checkpoints", keep=options.keep)) as checkpoints,
        ):
            state, lines = _resume(start, checkpoints)
            with _session(start, state, checkpoints, lines) as session:
                begun = time.perf_counter()
                state = _loop(session, state, interruption)
                return _finish(session, state, time.perf_counter() - begun)

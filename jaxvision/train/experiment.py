"""``Experiment``: what a run trains. Its values are checked before the first step."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxvision import checks, data, evaluate
from jaxvision.core import Objective
from jaxvision.evaluate.best_epoch import selection
from jaxvision.evaluate.metrics import Metric, check_metrics
from jaxvision.train import options, sharding, state
from jaxvision.train.recorded_rate import never_updates


def total_steps(source: data.Source, *, epochs: float, batch_size: int) -> int:
    """The number of steps in which every example of a source is seen ``epochs`` times; the last batch continues into the next epoch.

    Raises ValueError unless ``epochs`` and ``batch_size`` are positive.

    >>> import jaxvision as jv
    >>> jv.train.total_steps(jv.data.synthetic(100), epochs=2, batch_size=16)
    13
    """
    checks.positive(epochs=epochs, batch_size=batch_size)
    return math.ceil(epochs * len(source) / batch_size)


def _refuse_run_options(cls: type) -> type:
    """Make the constructor of ``Experiment`` raise a TypeError that names RunOptions for an option of the run."""
    construct = cls.__init__

    @functools.wraps(construct)
    def __init__(self, *arguments, **named):
        if moved := [name for name in options.NAMES if name in named]:
            given = ", ".join(f"{name}=..." for name in moved)
            raise TypeError(
                f"{', '.join(moved)}: found in Experiment, expected in RunOptions: jv.train.run(experiment, workdir, "
                f"options=jv.train.RunOptions({given}))"
            )
        construct(self, *arguments, **named)

    cls.__init__ = __init__
    return cls


@_refuse_run_options
@dataclasses.dataclass(frozen=True)
class Experiment:
    """What is trained: another value of any field is another run. ``RunOptions`` say how the run is executed.

    Sources give dicts that the objective and ``reads`` know, most often ``{"image": [H, W, C], "label": int}``. The arrays of one source
    have one shape.

    ``evaluate`` is a ``jv.evaluate.Metric``, a dict of metrics, or a function ``(infer, source) -> {name: number}``. It is computed on
    ``validation``, or on ``test`` where there is no validation data, after every ``evaluate_every`` epochs and after the last; on ``test``
    once more at the end. A function is called once an evaluation, never before training; ``infer(source, method=None)`` yields
    ``(outputs, batch)`` for each batch, as numpy arrays without padded rows. A metric in a dict is reported under its key, or as
    ``key/name`` where it computes several numbers.

    Only ``validation`` ever selects an epoch or stops a run. ``best`` names the metric that selects; by default it is top1, else map, else
    the first one. ``mode`` is "min" or "max"; by default names that end in loss, error, rmse, mae or fid are minimized.

    Raises TypeError for a field of ``RunOptions``.

    >>> import jaxvision as jv
    >>> model, train = jv.create_model("lenet5", num_classes=10), jv.data.synthetic(64)
    >>> experiment = jv.train.Experiment(model, jv.objectives.supervised(model), jv.train.sgd(0.1), train, epochs=2, batch_size=16)
    >>> experiment.steps
    8
    """

    model: Any  # the Linen module that is evaluated and exported
    objective: Objective
    optimizer: Any  # an optax.GradientTransformation
    train: data.Source
    validation: data.Source | None = None
    test: data.Source | None = None
    _: dataclasses.KW_ONLY
    epochs: int = 10
    batch_size: int = 128  # of one update, over all devices and micro-batches
    augment: Callable | None = None  # (key, batch) -> batch, part of the step
    recipe: Callable | None = None  # (key, image) -> image, for evaluation
    reads: tuple[str, ...] = ("image",)  # the fields of a batch that the model is called with, in the order of its arguments
    evaluate: Metric | Mapping[str, Metric] | Callable = evaluate.classification
    evaluate_every: int = 1  # epochs between two evaluations; the last epoch is always evaluated
    evaluated: str | None = None  # the objective's name of the module that is evaluated; by default model, else encoder, else the only one
    seed: int = 0
    accumulate: int = 1  # micro-batches an update
    ema: float | Callable | None = None  # decay of the weight average, which evaluation then uses
    given: Mapping = dataclasses.field(default_factory=dict)  # parameters, or variables, to start from, by module name
    best: str | None = None  # the validation metric that selects the epoch
    mode: str | None = None  # "min" or "max" of that metric
    patience: int | None = None  # evaluations without a better value before the run stops

    @property
    def steps(self) -> int:
        """The number of steps of the whole run: every example ``epochs`` times; the last batch continues into the next epoch."""
        return total_steps(self.train, epochs=self.epochs, batch_size=self.batch_size)

    def epoch_ends(self) -> dict[int, int]:
        """{step: epoch, counted from 1}: after that many steps, every example has been seen that many times."""
        return {-(-epoch * len(self.train) // self.batch_size): epoch for epoch in range(1, self.epochs + 1)}

    def evaluates(self, epoch: int) -> bool:
        """Whether the model is evaluated at the end of that epoch, counted from 1."""
        return epoch % self.evaluate_every == 0 or epoch == self.epochs

    def epoch_of(self, step: int) -> int:
        """The epoch in which the batch of a step begins; both are counted from 1."""
        return (step - 1) * self.batch_size // len(self.train) + 1

    def initializer(self, *, broken_share: float = 1.0) -> state.Initializer:
        """The initialization of the state, with the shapes of this experiment's batches; nothing is computed yet."""
        rows = sharding.process_rows(self.batch_size)
        few = rows if hasattr(self.train, "streams") else (0, 2)  # a further stream may have less than one row for two examples
        breakage = data.Breakage(len(self.train), share=broken_share, name="train", report=lambda line: None)  # the loop reports them
        batches = data.batches(self.train, max(2, rows[1]), seed=self.seed, steps=1, rows=few, threads=0, prefetch=0, breakage=breakage)
        return state.initializer(
            self.objective,
            self.optimizer,
            next(iter(batches)),
            key=jax.random.key(self.seed),
            augment=self.augment,
            ema=self.ema,
            given=self.given,
        )


def check_settings(experiment: Experiment, run_options: options.RunOptions) -> None:
    """Raise ValueError, in one line, for values or sources that cannot work."""
    for name in ("epochs", "batch_size", "accumulate", "evaluate_every"):
        checks.integer(name, getattr(experiment, name))
    if experiment.mode is not None:
        checks.one_of("mode", experiment.mode, ("min", "max"))
    if experiment.patience is not None:
        checks.integer("patience", experiment.patience)
        if experiment.validation is None:
            raise ValueError("patience: found no validation data, which early stopping needs; jv.data.split(train, 0.1) makes some")
    sharding.check_batch_size(experiment.batch_size, experiment.accumulate)
    _check_sources(experiment)
    _check_resident(experiment, run_options)


def _check_sources(experiment: Experiment) -> None:
    """Raise ValueError for empty sources, labels that do not fit the classifier, and an ``evaluate`` that does not fit the model."""
    classes = getattr(experiment.model, "num_classes", 0) or None
    for name in ("train", "validation", "test"):
        if (source := getattr(experiment, name)) is not None:
            data.check(source, num_classes=classes, name=name, at_least_two_classes=bool(classes) and name == "train")
    check_metrics(experiment.evaluate)
    evaluated = experiment.validation is not None or experiment.test is not None
    if evaluated and experiment.evaluate is evaluate.classification and getattr(experiment.model, "num_classes", None) == 0:
        fix = "expected a metric of features, such as evaluate=jv.evaluate.nearest(train), or no validation and test data"
        raise ValueError(f"evaluate: found classification for an encoder (num_classes=0), which has no logits; {fix}")


def _check_resident(experiment: Experiment, run_options: options.RunOptions) -> None:
    """Raise ValueError where ``resident`` is asked for and the training data cannot stay on the device."""
    if not run_options.resident:
        return
    if not hasattr(experiment.train, "take") or hasattr(experiment.train, "draw"):
        raise ValueError(
            "resident: found training data that are read from files or sampled in each epoch, expected arrays in memory (jv.data.arrays)"
        )
    if "image" not in (first := experiment.train.take(np.arange(1))):
        raise ValueError(f"resident: found training data with {', '.join(first)}, expected the field image, which alone can be resident")


def check_modules(experiment: Experiment, params: Mapping) -> None:
    """Raise ValueError where the optimizer would change none of the parameters, or ``evaluated`` names no module that can be evaluated.

    ``params`` may be arrays or ``jax.ShapeDtypeStruct``.
    """
    if never_updates(experiment.optimizer, params, experiment.steps):
        raise ValueError(
            f"optimizer: none of the {experiment.steps} updates of this run would change any parameter "
            "(rate 0 at every step, everything frozen, or an accumulation longer than the run)"
        )
    found, names = state.evaluated_module(params, experiment.evaluated), ", ".join(params)
    if experiment.evaluated is not None and found is None:
        raise ValueError(f"evaluated: found {experiment.evaluated!r}, expected one of {names}, the modules of the objective")
    if found is None and (experiment.validation is not None or experiment.test is not None):
        raise ValueError(f"evaluated: found none, expected the name of the module to evaluate: one of {names}")


def describe(experiment: Experiment, run_options: options.RunOptions, learning_rate: float | None) -> list[str]:
    """The lines printed at the start: what is trained on what, the effective batch and learning rate, what selects the best epoch."""
    devices, processes = len(jax.devices()), jax.process_count()
    share = experiment.batch_size // (devices * experiment.accumulate)
    parts = f"{devices} {jax.devices()[0].device_kind} device{'s' * (devices > 1)} x {share}"
    parts += f" x {experiment.accumulate} micro-batches" if experiment.accumulate > 1 else ""
    lines = [
        f"{run_options.title or type(experiment.model).__name__}: {len(experiment.train)} training examples, {experiment.epochs} epochs, "
        f"{experiment.steps} steps",
        f"effective batch {experiment.batch_size} = {parts}"
        + (f", {processes} processes" if processes > 1 else "")
        + f", driver {run_options.driver}{' with fsdp' if run_options.fsdp else ''}",
        "effective learning rate: "
        + (f"{learning_rate:.6g} at the peak" if learning_rate is not None else "not shown by the optimizer; those of jv.train show it"),
    ]
    if experiment.accumulate > 1:
        lines.append(
            f"accumulation: batch statistics and contrastive negatives are those of {experiment.batch_size // experiment.accumulate} images"
        )
    if experiment.validation is not None:
        lines.append(f"best epoch: selected by {selection(experiment.best, experiment.mode)} on validation data")
    return lines

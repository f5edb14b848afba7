"""What a run is: data, model, objective, optimizer and the numbers around them; checked before the first step."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxvision import data, evaluate
from jaxvision.core import Objective
from jaxvision.train import sharding
from jaxvision.train.recorded_rate import never_updates


def total_steps(source, *, epochs: float, batch_size: int) -> int:
    """The steps in which every example of a source is seen ``epochs`` times; the last batch runs over.

    Raises ValueError where one of the two is not positive.
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value <= 0:
            raise ValueError(f"{name}: found {value}, expected at least 1")
    return math.ceil(epochs * len(source) / batch_size)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One training run. Sources give dicts that the objective and ``reads`` know, most often ``{"image": [H, W, C], "label": int}``; the
    arrays of one source have one shape.

    After every ``evaluate_every`` epochs and the last, ``evaluate(infer, source) -> {name: fraction}`` judges ``validation``, or ``test``
    where there is no validation; ``infer(source, method=None) -> (outputs [N, ...], labels [N])`` runs the model over a source. Only
    ``validation`` ever selects an epoch or stops a run.
    """

    model: Any  # the Linen module that is judged and exported
    objective: Objective
    optimizer: Any  # an optax.GradientTransformation
    train: Any
    validation: Any = None
    test: Any = None
    _: dataclasses.KW_ONLY
    epochs: int = 10
    batch_size: int = 128  # of one update, over all devices and micro-batches
    augment: Callable | None = None  # (key, batch) -> batch, in the step
    recipe: Callable | None = None  # (key, image) -> image, for evaluation
    reads: tuple[str, ...] = ("image",)  # the fields of an example that the model is judged on, in the order of its arguments
    evaluate: Callable = evaluate.classification
    evaluate_every: int = 1  # epochs between two judgements; the last epoch is always judged
    draw: Callable | None = None  # (state on the host, images [n, H, W, C] in [0, 1], folder): pictures of its own at the end
    seed: int = 0
    accumulate: int = 1  # micro-batches an update
    ema: float | Callable | None = None  # decay of the weight average, which evaluation then uses
    given: Mapping = dataclasses.field(default_factory=dict)  # parameters, or variables, to start from, by module name
    remat: tuple[str, ...] | None = None  # names of the values kept for the gradients, as ("shortcut",); None: all, at the price of memory
    driver: str = "jit"
    fsdp: bool = False
    threads: int = 2  # that decode
    resident: bool = False  # the training images live on the device, for small sets in memory: a batch then travels as indices
    steps_per_call: int = 1  # steps of one program: for small models, whose steps are shorter than the host's part in them
    broken_share: float = 0.01  # of a source that may be unreadable before the run stops
    log_every: int = 10  # steps between training rows
    save_every: int | None = None  # a kill loses at most this many steps; None: an epoch, but 100 to 1,000 steps
    keep: int = 2  # newest checkpoints kept, beside the best
    best: str | None = None  # the validation figure that selects the epoch: top1, else map, else loss (a loss is better when lower)
    patience: int | None = None  # judgements without a better figure before the run stops
    guard: bool = True  # watch for collapse and say so, in the console and in summary.json; it never stops the run
    title: str = ""  # what the console calls it
    hint: str = ""  # what to try next, printed at the end

    @property
    def steps(self) -> int:
        """The steps of the whole run: every example ``epochs`` times, the last batch running over."""
        return total_steps(self.train, epochs=self.epochs, batch_size=self.batch_size)

    @property
    def save_interval(self) -> int:
        """Steps between two saves that a kill may cost."""
        return self.save_every or min(max(100, -(-len(self.train) // self.batch_size)), 1000)

    def epoch_ends(self) -> dict[int, int]:
        """{step: epoch (from 1)}: after that many steps, every example has been seen that many times."""
        return {-(-epoch * len(self.train) // self.batch_size): epoch for epoch in range(1, self.epochs + 1)}

    def calls(self, start: int) -> Iterator[tuple[int, int]]:
        """(first, last) step (from 1) of every call after step ``start``: ``steps_per_call`` of them, fewer where an epoch ends, and no
        more than half of what a kill may cost.
        """
        most = min(self.steps_per_call, max(1, self.save_interval // 2))
        ends = iter(sorted({*self.epoch_ends(), self.steps}))
        while start < self.steps:
            end = next(end for end in ends if end > start)
            while start < end:
                first, start = start + 1, min(start + most, end)
                yield first, start

    def judges(self, epoch: int) -> bool:
        """Whether the model is judged at the end of that epoch (from 1)."""
        return epoch % self.evaluate_every == 0 or epoch == self.epochs

    def epoch_of(self, step: int) -> int:
        """The epoch (from 1) that the batch of the ``step``-th step (from 1) begins in."""
        return (step - 1) * self.batch_size // len(self.train) + 1


def check(experiment: Experiment, params) -> None:
    """Raises ValueError, in one line, for a run that could not work: before anything is compiled or written."""
    for name in ("epochs", "batch_size", "accumulate", "evaluate_every", "log_every", "keep", "threads", "steps_per_call"):
        least = 0 if name == "threads" else 1
        if getattr(experiment, name) < least:
            raise ValueError(f"{name}: found {getattr(experiment, name)}, expected at least {least}")
    for name in ("save_every", "patience"):
        if (value := getattr(experiment, name)) is not None and value < 1:
            raise ValueError(f"{name}: found {value}, expected at least 1, or none")
    if experiment.patience is not None and experiment.validation is None:
        raise ValueError("patience: early stopping judges validation data and there are none; jv.data.split(train, 0.1) makes some")
    sharding.check_driver(experiment.driver, fsdp=experiment.fsdp)
    sharding.check_batch_size(experiment.batch_size, experiment.accumulate)
    check_sources(experiment)
    if never_updates(experiment.optimizer, params, experiment.steps):
        raise ValueError(
            f"optimizer: none of the {experiment.steps} updates of this run would change any parameter "
            "(rate 0 at every step, everything frozen, or an accumulation longer than the run)"
        )


def check_sources(experiment: Experiment) -> None:
    """Raises ValueError for empty sources, for options that do not fit them, where the model classifies for labels that it cannot tell
    apart, and where it does not for a judgement of its logits.
    """
    classes = getattr(experiment.model, "num_classes", 0) or None
    for name in ("train", "validation", "test"):
        if (source := getattr(experiment, name)) is not None:
            data.check(source, num_classes=classes, name=name, at_least_two_classes=bool(classes) and name == "train")
    judged = experiment.validation is not None or experiment.test is not None
    if judged and experiment.evaluate is evaluate.classification and getattr(experiment.model, "num_classes", None) == 0:
        fix = "expected a judge of features, such as evaluate=jv.evaluate.nearest(train), or no validation and test data"
        raise ValueError(f"evaluate: found classification for an encoder (num_classes=0), which gives no logits; {fix}")
    if experiment.resident and (not hasattr(experiment.train, "take") or hasattr(experiment.train, "draw")):
        raise ValueError("resident: found training data that are read from files or drawn anew, expected arrays in memory (jv.data.arrays)")
    if experiment.resident and "image" not in (first := experiment.train.take(np.arange(1))):
        raise ValueError(f"resident: found training data of {', '.join(first)}, expected images, which alone can stay on the device")
    if not 0 <= experiment.broken_share <= 1:
        raise ValueError(f"broken_share: found {experiment.broken_share}, expected the part of a source that may be unreadable, 0 to 1")


def describe(experiment: Experiment, learning_rate: float | None) -> list[str]:
    """The lines printed at the start: what is trained on what, the effective batch and learning rate."""
    devices, processes = len(jax.devices()), jax.process_count()
    share = experiment.batch_size // (devices * experiment.accumulate)
    parts = f"{devices} {jax.devices()[0].device_kind} device{'s' * (devices > 1)} x {share}"
    parts += f" x {experiment.accumulate} micro-batches" if experiment.accumulate > 1 else ""
    lines = [
        f"{experiment.title or type(experiment.model).__name__}: {len(experiment.train)} training examples, {experiment.epochs} epochs, "
        f"{experiment.steps} steps",
        f"effective batch {experiment.batch_size} = {parts}"
        + (f", {processes} processes" if processes > 1 else "")
        + f", driver {experiment.driver}{' with fsdp' if experiment.fsdp else ''}",
        "effective learning rate: "
        + (f"{learning_rate:.6g} at the peak" if learning_rate is not None else "hidden by the optimizer; those of jv.train show it"),
    ]
    if experiment.accumulate > 1:
        lines.append(
            f"accumulation: batch statistics and contrastive negatives are those of {experiment.batch_size // experiment.accumulate} images"
        )
    return lines

"""The pictures that a finished run leaves in its folder: curves, confusion, predictions, first filters."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from jaxvision import evaluate, plots
from jaxvision.train import folder, sharding
from jaxvision.train.experiment import Experiment
from jaxvision.train.state import TrainState, variables

_SHOWN = 24  # images in the grid of predictions


def _first_filters(params: dict) -> np.ndarray | None:
    """The kernel [kh, kw, C, D] of the first convolution, which every family keeps in its stem."""
    kernels = (leaf for leaf in jax.tree.leaves(params.get("stem", {})) if getattr(leaf, "ndim", 0) == 4 and leaf.shape[0] > 1)
    return next((sharding.fetch(kernel) for kernel in kernels), None)


def draw(experiment: Experiment, state: TrainState, rows: list[dict], infer: Callable, where: Path, report: Callable[[str], None]) -> None:
    """Draw whatever the run has figures for into the folder ``where``; every process computes, the primary one draws."""
    now, before = (_first_filters(variables(one)["params"]) for one in (state, sharding.place(folder.fresh(experiment))))
    source = (experiment.test if experiment.test is not None else experiment.validation) if experiment.reads == ("image",) else None
    logits, labels = infer(source) if source is not None else (np.zeros(0), np.zeros(0))
    if not sharding.is_primary():
        return
    try:
        plots.curves(rows, where / "curves.png")
    except ModuleNotFoundError as missing:
        report(f"no pictures: {missing}")
        return
    if now is not None:
        plots.filters(now, where / "filters.png", before=before)
    classes = list(source.classes) if source is not None else []
    if logits.ndim == 2 and labels.ndim == 1 and logits.shape[1] == len(classes):
        _draw_answers(source, logits, labels, classes, where, report)


def _draw_answers(source, logits: np.ndarray, labels: np.ndarray, classes: list[str], where: Path, report: Callable) -> None:
    plots.confusion(evaluate.confusion_matrix(logits.argmax(-1), labels, len(classes)), classes, where / "confusion.png")
    if len(labels) < len(source):
        report(f"no picture of predictions: {len(source) - len(labels)} of the examples cannot be read")
        return
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    shown = plots.worst_first(labels, probabilities)[:_SHOWN]
    images = [source[int(index)]["image"] for index in shown]
    plots.predictions(images, labels[shown], probabilities[shown], classes, where / "predictions.png")

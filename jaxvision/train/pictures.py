"""The pictures that a finished run leaves in its folder: curves, confusion, predictions, first filters."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from jaxvision import evaluate, plots
from jaxvision.train import folder
from jaxvision.train.experiment import Experiment
from jaxvision.train.state import TrainState, variables

_SHOWN = 24  # images in the grid of predictions


def _first_filters(params: dict) -> np.ndarray | None:
    """The kernel [kh, kw, C, D] of the first convolution, which every family keeps in its stem."""
    kernels = (leaf for leaf in jax.tree.leaves(params.get("stem", {})) if getattr(leaf, "ndim", 0) == 4 and leaf.shape[0] > 1)
    return next((np.asarray(kernel) for kernel in kernels), None)


def draw(experiment: Experiment, state: TrainState, rows: list[dict], infer: Callable, where: Path, report: Callable[[str], None]) -> None:
    """Draw whatever the run has figures for into the folder ``where``."""
    try:
        plots.curves(rows, where / "curves.png")
    except ModuleNotFoundError as missing:
        return report(f"no pictures: {missing}")
    now = _first_filters(variables(state)["params"])
    if now is not None:
        plots.filters(now, where / "filters.png", before=_first_filters(variables(folder.fresh(experiment))["params"]))
    source = experiment.test if experiment.test is not None else experiment.validation
    if source is None:
        return None
    logits, labels = infer(source)
    classes = list(source.classes)
    if logits.ndim != 2 or labels.ndim != 1 or logits.shape[1] != len(classes):
        return None
    plots.confusion(evaluate.confusion_matrix(logits.argmax(-1), labels, len(classes)), classes, where / "confusion.png")
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    shown = plots.worst_first(labels, probabilities)[:_SHOWN]
    images = [source[int(index)]["image"] for index in shown]
    plots.predictions(images, labels[shown], probabilities[shown], classes, where / "predictions.png")
    return None

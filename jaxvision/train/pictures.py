"""The pictures that a finished run leaves in its folder: curves, filters, a classifier's answers, an encoder's neighbours, its own."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from jaxvision import evaluate, plots
from jaxvision.train import folder, sharding
from jaxvision.train.experiment import Experiment
from jaxvision.train.state import TrainState, variables
from jaxvision.typing import to_float

_SHOWN = 24  # images in the grid of predictions
_POINTS, _ROWS, _NEIGHBOURS = 1000, 6, 8  # images in the t-SNE; images with their neighbours, and how many of these
_OWN = 8  # images that a run's own pictures are drawn of


def _first_filters(params: dict) -> np.ndarray | None:
    """The kernel [kh, kw, C, D] of the first convolution, which every family keeps in its stem."""
    kernels = (leaf for leaf in jax.tree.leaves(params.get("stem", {})) if getattr(leaf, "ndim", 0) == 4 and leaf.shape[0] > 1)
    return next((sharding.fetch(kernel) for kernel in kernels), None)


def draw(experiment: Experiment, state: TrainState, rows: list[dict], infer: Callable, where: Path, report: Callable[[str], None]) -> None:
    """Draw whatever the run has figures for into the folder ``where``; every process computes, the primary one draws."""
    now, before = (_first_filters(variables(one)["params"]) for one in (state, sharding.place(folder.fresh(experiment))))
    source = (experiment.test if experiment.test is not None else experiment.validation) if experiment.reads == ("image",) else None
    found, labels = infer(source) if source is not None else (np.zeros(0), np.zeros(0))
    params = jax.tree.map(sharding.fetch, state.params) if experiment.draw else {}
    if not sharding.is_primary():
        return
    try:
        plots.curves(rows, where / "curves.png")
    except ModuleNotFoundError as missing:
        report(f"no pictures: {missing}")
        return
    if now is not None:
        plots.filters(now, where / "filters.png", before=before)
    if source is None:
        return
    whole = len(labels) == len(source)
    if not whole:
        report(f"no pictures of examples: {len(source) - len(labels)} of {len(source)} cannot be read")
    encodes = getattr(experiment.model, "num_classes", None) == 0  # an encoder of ten features is no classifier of ten classes
    if found.ndim == 2 and labels.ndim == 1 and not encodes and found.shape[1] == len(source.classes):
        _draw_answers(source, found, labels, list(source.classes), where, whole=whole)
    elif found.ndim == 2 and labels.ndim == 1 and encodes and whole and np.isfinite(found).all():
        _draw_features(source, found, labels, list(source.classes), where)
    if experiment.draw and whole:
        experiment.draw(params, _images(source, range(min(_OWN, len(source)))), where)


def _images(source, indices) -> np.ndarray:
    """Images [n, H, W, C] of a source, float in [0, 1]."""
    return np.asarray(to_float(np.stack([source[int(index)]["image"] for index in indices])))


def _draw_features(source, features: np.ndarray, labels: np.ndarray, classes: list[str], where: Path) -> None:
    """t-SNE of raw pixels beside the features [N, D], and the nearest neighbours of a few images among the others."""
    chosen = np.linspace(0, len(labels) - 1, min(_POINTS, len(labels))).astype(int)
    images = _images(source, chosen)
    if len(chosen) > 4 and labels[chosen].min() >= 0:
        perplexity = min(30.0, (len(chosen) - 1) / 3)
        panels = {"raw pixels": images.reshape(len(images), -1), "features": features[chosen]}
        points = {title: plots.tsne(rows, perplexity=perplexity) for title, rows in panels.items()}
        plots.embedding(points, labels[chosen], classes, where / "tsne.png")
    count = min(_NEIGHBOURS, len(chosen) - 1)
    if count > 0:
        nearest, _ = evaluate.neighbours(features[chosen], features[chosen][:_ROWS], k=count + 1)
        nearest = np.stack([row[row != index][:count] for index, row in enumerate(nearest)])  # an image is not its own neighbour
        known = {"query_labels": labels[chosen][:_ROWS], "neighbour_labels": labels[chosen][nearest], "classes": classes}
        plots.neighbours(images[:_ROWS], images[nearest], where / "neighbours.png", **(known if labels[chosen].min() >= 0 else {}))


def _draw_answers(source, logits: np.ndarray, labels: np.ndarray, classes: list[str], where: Path, *, whole: bool) -> None:
    plots.confusion(evaluate.confusion_matrix(logits.argmax(-1), labels, len(classes)), classes, where / "confusion.png")
    if not whole:
        return
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    shown = plots.worst_first(labels, probabilities)[:_SHOWN]
    images = [source[int(index)]["image"] for index in shown]
    plots.predictions(images, labels[shown], probabilities[shown], classes, where / "predictions.png")

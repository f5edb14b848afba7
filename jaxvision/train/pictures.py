"""The pictures that a finished run leaves: curves, filters, what channels look for, a classifier's answers, an encoder's neighbours."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np

from jaxvision import evaluate, plots
from jaxvision.train import sharding
from jaxvision.train.experiment import Experiment
from jaxvision.train.state import TrainState, variables
from jaxvision.typing import to_float

_SHOWN = 24  # images in the grid of predictions
_POINTS, _ROWS, _NEIGHBOURS = 1000, 6, 8  # images in the t-SNE; images with their neighbours, and how many of these
_SEARCHED, _CANDIDATES = 256, 64  # images in which, and channels for which, patches are sought
_CHANNELS, _STRONGEST = 6, 9  # channels that are shown, patches of each
_AT_ONCE = 32  # images that run together for that
_CELLS = 4  # a patch is so many places of the map wide
_OWN = 8  # images that a run's own pictures are drawn of
_TILES, _COMPONENTS = 64, 28  # more filters than that are a patch embedding's: so many principal components are drawn of them


def first_filters(state: TrainState) -> np.ndarray | None:
    """The kernel [kh, kw, C, D] of the first convolution, which every family keeps in its stem."""
    stem = variables(state)["params"].get("stem", {})
    kernels = (leaf for leaf in jax.tree.leaves(stem) if getattr(leaf, "ndim", 0) == 4 and leaf.shape[0] > 1)
    return next((sharding.fetch(kernel) for kernel in kernels), None)


def _failed(what: str, error: Exception) -> str:
    told = str(error).strip().splitlines()
    return f"no picture of {what}: {type(error).__name__}{': ' + told[0] if told else ''}"


def _attempt(report: Callable[[str], None], what: str, drawing: Callable, *arguments) -> None:
    """A picture that cannot be drawn costs a line, never the run."""
    try:
        drawing(*arguments)
    except Exception as error:  # of matplotlib, scikit-learn or an experiment's own
        report(_failed(what, error))


def draw(
    experiment: Experiment,
    state: TrainState,
    rows: list[dict],
    infer: Callable,
    where: Path,
    report: Callable[[str], None],
    *,
    before: np.ndarray | None = None,
) -> None:
    """Draw whatever the run has figures for into the folder ``where``; every process computes, the primary one draws.

    ``before`` are the ``first_filters`` that the run began with. A drawing that raises is reported in one line.
    """
    now = first_filters(state)
    source = (experiment.test if experiment.test is not None else experiment.validation) if experiment.reads == ("image",) else None
    found, labels = infer(source) if source is not None else (np.zeros(0), np.zeros(0))
    has_features = source is not None and callable(getattr(experiment.model, "features", None))
    kept = jax.tree.map(sharding.fetch, state._replace(opt_state=None)) if experiment.draw or has_features else None
    if not sharding.is_primary():
        return
    attempt = partial(_attempt, report)
    try:
        plots.curves(rows, where / "curves.png")
    except ModuleNotFoundError as missing:
        report(f"no pictures: {missing}")
        return
    except Exception as error:  # such as a full disk
        report(_failed("the curves", error))
    if now is not None:
        attempt("filters", _draw_filters, now, before, where)
    if source is None:
        return
    whole = len(labels) == len(source)
    if not whole:
        report(f"no pictures of examples: {len(source) - len(labels)} of {len(source)} cannot be read")
    encodes = getattr(experiment.model, "num_classes", None) == 0  # an encoder of ten features is no classifier of ten classes
    if found.ndim == 2 and labels.ndim == 1 and not encodes and found.shape[1] == len(source.classes):
        attempt("the confusions", _draw_confusion, found, labels, list(source.classes), where)
        if whole:
            attempt("predictions", _draw_answers, source, found, labels, list(source.classes), where)
    elif found.ndim == 2 and labels.ndim == 1 and encodes and whole and np.isfinite(found).all():
        attempt("features", _draw_features, attempt, source, found, labels, where)
    if has_features and whole:
        attempt("channels", _draw_channels, experiment, variables(kept), source, where)
    if experiment.draw and whole:
        attempt("the experiment's own kind", experiment.draw, kept, _images(source, range(min(_OWN, len(source)))), where)


def _evenly(count: int, most: int) -> np.ndarray:
    """``most`` numbers below ``count``, or all of them, evenly spaced."""
    return np.linspace(0, count - 1, min(most, count)).astype(int)


def _images(source, indices) -> np.ndarray:
    """Images [n, H, W, C] of a source, float in [0, 1]."""
    return np.asarray(to_float(np.stack([source[int(index)]["image"] for index in indices])))


def _draw_filters(now: np.ndarray, before: np.ndarray, where: Path) -> None:
    """Filters [kh, kw, C, D] after and before training, of many their principal components."""
    plots.filters(now, where / "filters.png", before=before, components=_COMPONENTS if now.shape[-1] > _TILES else None)


def _middle_map(model, features, side: int) -> tuple[str, int, int] | None:
    """(name, places along a side of the image, channels) of the map in the middle of a network, of its tokens where it has no maps."""
    if features.maps:
        finest_first = sorted(features.maps, key=lambda name: -features.maps[name].shape[1])
        name = finest_first[len(finest_first) // 2]
        return name, features.maps[name].shape[1], features.maps[name].shape[-1]
    if features.tokens is not None and hasattr(model, "patch_size"):
        return "tokens", side // model.patch_size, features.tokens.shape[-1]
    return None


def _draw_channels(experiment: Experiment, given: dict, source, where: Path) -> None:
    """The patches that excite some channels of the middle map most, and what in one image excites the first of them."""
    model = experiment.model
    images = np.asarray(evaluate.prepared(_images(source, _evenly(len(source), _SEARCHED)), experiment.recipe))
    features = jax.eval_shape(lambda image: model.apply(given, image, method="features"), images[:1])
    if (found := _middle_map(model, features, images.shape[1])) is None:
        return
    name, places, count = found
    size = min(_CELLS * images.shape[1] // places, *images.shape[1:3])
    strongest = {"size": size, "count": min(_STRONGEST, len(images)), "batch_size": min(_AT_ONCE, len(images))}
    channels = _evenly(count, _CANDIDATES)
    patches, strengths = evaluate.top_patches(model, given, images, name, channels, **strongest)
    most = np.argsort(-strengths.mean(1), kind="stable")[:_CHANNELS]
    names, low, high = [f"{name} {channel}" for channel in channels[most]], images.min(), images.max()
    shown = lambda pixels: (pixels - low) / max(high - low, 1e-12)  # noqa: E731  # normalised images as pictures
    plots.top_patches(shown(patches[most]), where / "top_patches.png", names=names, strengths=strengths[most])
    way, gradient = _signal(partial(evaluate.feature_gradient, model, given, images[0], name, int(channels[most[0]])))
    plots.gradients(shown(images[0]), {f"{names[0]}, {way}": gradient}, where / "gradients.png")


def _signal(gradient: Callable) -> tuple[str, np.ndarray]:
    """(how, [H, W, C]): what reaches the pixels, by Zeiler and Fergus's way back where the network has the ReLU that it needs."""
    try:
        return "deconvnet", np.asarray(gradient(backward="deconvnet"))
    except ValueError:
        return "gradient", np.asarray(gradient())


def _draw_features(attempt: Callable, source, features: np.ndarray, labels: np.ndarray, where: Path) -> None:
    """The features [N, D] in the plane, and who is near whom."""
    chosen = _evenly(len(labels), _POINTS)
    drawn = _images(source, chosen), features[chosen], labels[chosen], list(source.classes), where
    attempt("features in the plane", _draw_plane, *drawn)
    attempt("neighbours", _draw_neighbours, *drawn)


def _draw_plane(images: np.ndarray, features: np.ndarray, labels: np.ndarray, classes: list[str], where: Path) -> None:
    """t-SNE of raw pixels beside the features [n, D]."""
    if len(labels) > 4 and labels.min() >= 0:
        perplexity = min(30.0, (len(labels) - 1) / 3)
        panels = {"raw pixels": images.reshape(len(images), -1), "features": features}
        points = {title: plots.tsne(rows, perplexity=perplexity) for title, rows in panels.items()}
        plots.embedding(points, labels, classes, where / "tsne.png")


def _draw_neighbours(images: np.ndarray, features: np.ndarray, labels: np.ndarray, classes: list[str], where: Path) -> None:
    """The nearest neighbours of a few images among the others."""
    count = min(_NEIGHBOURS, len(labels) - 1)
    if count > 0:
        nearest, _ = evaluate.neighbours(features, features[:_ROWS], k=count + 1)
        nearest = np.stack([row[row != index][:count] for index, row in enumerate(nearest)])  # an image is not its own neighbour
        known = {"query_labels": labels[:_ROWS], "neighbour_labels": labels[nearest], "classes": classes}
        plots.neighbours(images[:_ROWS], images[nearest], where / "neighbours.png", **(known if labels.min() >= 0 else {}))


def _draw_confusion(logits: np.ndarray, labels: np.ndarray, classes: list[str], where: Path) -> None:
    plots.confusion(evaluate.confusion_matrix(logits.argmax(-1), labels, len(classes)), classes, where / "confusion.png")


def _draw_answers(source, logits: np.ndarray, labels: np.ndarray, classes: list[str], where: Path) -> None:
    """The images that the classifier is most wrong about."""
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    shown = plots.worst_first(labels, probabilities)[:_SHOWN]
    images = [source[int(index)]["image"] for index in shown]
    plots.predictions(images, labels[shown], probabilities[shown], classes, where / "predictions.png")

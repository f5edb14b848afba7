"""The pictures of a finished run: curves, filters, patches with large activations, a classifier's predictions, an encoder's neighbours."""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from pathlib import Path

import jax
import numpy as np

from jaxvision import evaluate, plots
from jaxvision.train import sharding
from jaxvision.train.experiment import Experiment
from jaxvision.train.options import RunOptions
from jaxvision.train.state import TrainState, evaluated_module, variables
from jaxvision.typing import to_float

_PREDICTIONS = 24  # images in the grid of predictions
_TSNE_POINTS = 1000
_NEIGHBOUR_ROWS, _NEIGHBOURS = 6, 8  # images that are shown with their neighbours, and how many of these
_SEARCHED_IMAGES, _SEARCHED_CHANNELS = 256, 64  # in which the strongest patches are looked for
_CHANNELS, _PATCHES = 6, 9  # channels that are shown, patches of each
_SEARCH_BATCH = 32
_PATCH_CELLS = 4  # the width of a patch, in cells of the map
_OWN_IMAGES = 8  # images that an experiment's own pictures are drawn of
_SINGLE_FILTERS, _COMPONENTS = 64, 28  # more filters than that are a patch embedding: its principal components are drawn
_FIRST_FILTERS = "filters_before.npy"  # in the folder of the pictures


def first_filters(experiment: Experiment, state: TrainState) -> np.ndarray | None:
    """The kernel [kh, kw, C, D] of the evaluated module's first convolution, which every family keeps in its stem."""
    if evaluated_module(state.params, experiment.evaluated) is None:
        return None
    stem = variables(state, experiment.evaluated)["params"].get("stem", {})
    kernels = (leaf for leaf in jax.tree.leaves(stem) if getattr(leaf, "ndim", 0) == 4 and leaf.shape[0] > 1)
    return next((sharding.fetch(kernel) for kernel in kernels), None)


def keep_first_filters(experiment: Experiment, state: TrainState, folder: Path) -> None:
    """Keep the filters before training in the folder of the pictures, for a run that another process resumes."""
    filters = first_filters(experiment, state)
    if filters is not None and sharding.is_primary():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / _FIRST_FILTERS, filters)


def _failure(what: str, error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"no picture of {what}: {type(error).__name__}{': ' + lines[0] if lines else ''}"


def _attempt(report: Callable[[str], None], what: str, drawing: Callable, *arguments) -> None:
    """Draw a picture. An error is reported in one line and does not stop the run."""
    try:
        drawing(*arguments)
    except Exception as error:  # of matplotlib, scikit-learn or an experiment's own function
        report(_failure(what, error))


def _rows(batches: Iterable[tuple]) -> tuple[np.ndarray, np.ndarray] | None:
    """(outputs [N, D], labels [N]) of a source; None where outputs or labels have another form, after the first batch."""
    batches = iter(batches)
    first = next(batches, None)
    if first is None or not isinstance(first[0], np.ndarray) or first[0].ndim != 2 or np.ndim(first[1].get("label")) != 1:
        return None
    return evaluate.collect(chain([first], batches))


def draw(
    experiment: Experiment,
    options: RunOptions,
    state: TrainState,
    rows: list[dict],
    infer: Callable,
    folder: Path,
    report: Callable[[str], None],
) -> None:
    """Draw everything the run has data for into ``folder``; every process computes, the primary one draws.

    A drawing that raises is reported in one line.
    """
    now = first_filters(experiment, state)
    source = (experiment.test if experiment.test is not None else experiment.validation) if experiment.reads == ("image",) else None
    found = None
    if source is not None:
        try:  # a model whose ``__call__`` takes no images is evaluated by a function of its own
            found = _rows(infer(source))
        except Exception as error:
            report(_failure("predictions", error))
    has_features = source is not None and callable(getattr(experiment.model, "features", None))
    kept = jax.tree.map(sharding.fetch, state._replace(opt_state=None)) if options.draw or has_features else None
    if not sharding.is_primary():
        return
    attempt = partial(_attempt, report)
    try:
        plots.curves(rows, folder / "curves.png")
    except ModuleNotFoundError as missing:
        report(f"no pictures: {missing}")
        return
    except Exception as error:  # such as a full disk
        report(_failure("the curves", error))
    if now is not None:
        attempt("filters", _draw_filters, now, folder)
    if source is None:
        return
    whole = found is None or len(found[1]) == len(source)
    if not whole:
        report(f"no pictures of examples: {len(source) - len(found[1])} of {len(source)} cannot be read")
    if found is not None:
        _draw_outputs(experiment, attempt, source, *found, folder)
    if has_features and whole:
        attempt("channels", _draw_channels, experiment, variables(kept, experiment.evaluated), source, folder)
    if options.draw and whole:
        attempt("the experiment's own kind", options.draw, kept, _images(source, range(min(_OWN_IMAGES, len(source)))), folder)


def _draw_outputs(experiment: Experiment, attempt: Callable, source, outputs: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    """Pictures of logits [N, K] or of features [N, D]."""
    encodes, whole = getattr(experiment.model, "num_classes", None) == 0, len(labels) == len(source)  # ten features are not ten classes
    if not encodes and outputs.shape[1] == len(source.classes):
        attempt("the confusions", _draw_confusion, outputs, labels, list(source.classes), folder)
        if whole:
            attempt("predictions", _draw_predictions, source, outputs, labels, list(source.classes), folder)
    elif encodes and whole and np.isfinite(outputs).all():
        attempt("features", _draw_features, attempt, source, outputs, labels, folder)


def _evenly(count: int, most: int) -> np.ndarray:
    """``most`` numbers below ``count``, or all of them, evenly spaced."""
    return np.linspace(0, count - 1, min(most, count)).astype(int)


def _images(source, indices) -> np.ndarray:
    """Images [n, H, W, C] of a source, float in [0, 1]."""
    return np.asarray(to_float(np.stack([source[int(index)]["image"] for index in indices])))


def _draw_filters(now: np.ndarray, folder: Path) -> None:
    """Filters [kh, kw, C, D] after training and, where they were kept, before it; of many their principal components."""
    before = np.load(folder / _FIRST_FILTERS) if (folder / _FIRST_FILTERS).is_file() else None
    plots.filters(now, folder / "filters.png", before=before, components=_COMPONENTS if now.shape[-1] > _SINGLE_FILTERS else None)


def _middle_map(model, features, side: int) -> tuple[str, int, int] | None:
    """(name, places along a side of the image, channels) of the map in the middle of a network, of its tokens where it has no maps."""
    if features.maps:
        finest_first = sorted(features.maps, key=lambda name: -features.maps[name].shape[1])
        name = finest_first[len(finest_first) // 2]
        return name, features.maps[name].shape[1], features.maps[name].shape[-1]
    if features.tokens is not None and hasattr(model, "patch_size"):
        return "tokens", side // model.patch_size, features.tokens.shape[-1]
    return None


def _draw_channels(experiment: Experiment, given: dict, source, folder: Path) -> None:
    """The patches with the largest activations of some channels of the middle map; the gradient of the first channel for one image."""
    model = experiment.model
    images = np.asarray(evaluate.prepared(_images(source, _evenly(len(source), _SEARCHED_IMAGES)), experiment.recipe))
    features = jax.eval_shape(lambda image: model.apply(given, image, method="features"), images[:1])
    if (found := _middle_map(model, features, images.shape[1])) is None:
        return
    name, places, count = found
    size = min(_PATCH_CELLS * images.shape[1] // places, *images.shape[1:3])
    strongest = {"size": size, "count": min(_PATCHES, len(images)), "batch_size": min(_SEARCH_BATCH, len(images))}
    channels = _evenly(count, _SEARCHED_CHANNELS)
    patches, strengths = evaluate.top_patches(model, given, images, name, channels, **strongest)
    most = np.argsort(-strengths.mean(1), kind="stable")[:_CHANNELS]
    names, low, high = [f"{name} {channel}" for channel in channels[most]], images.min(), images.max()
    shown = lambda pixels: (pixels - low) / max(high - low, 1e-12)  # noqa: E731  # normalized images as pictures
    plots.top_patches(shown(patches[most]), folder / "top_patches.png", names=names, strengths=strengths[most])
    backward, gradient = _signal(partial(evaluate.feature_gradient, model, given, images[0], name, int(channels[most[0]])))
    plots.gradients(shown(images[0]), {f"{names[0]}, {backward}": gradient}, folder / "gradients.png")


def _signal(gradient: Callable) -> tuple[str, np.ndarray]:
    """(backward pass, gradient [H, W, C]): that of Zeiler & Fergus (deconvnet) if the network has a ReLU, else the plain gradient."""
    try:
        return "deconvnet", np.asarray(gradient(backward="deconvnet"))
    except ValueError:
        return "gradient", np.asarray(gradient())


def _draw_features(attempt: Callable, source, features: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    """t-SNE of the features [N, D], and nearest neighbours."""
    chosen = _evenly(len(labels), _TSNE_POINTS)
    drawn = _images(source, chosen), features[chosen], labels[chosen], list(source.classes), folder
    attempt("t-SNE", _draw_tsne, *drawn)
    attempt("neighbours", _draw_neighbours, *drawn)


def _draw_tsne(images: np.ndarray, features: np.ndarray, labels: np.ndarray, classes: list[str], folder: Path) -> None:
    """t-SNE of raw pixels and of the features [n, D], side by side."""
    if len(labels) > 4 and labels.min() >= 0:
        perplexity = min(30.0, (len(labels) - 1) / 3)
        panels = {"raw pixels": images.reshape(len(images), -1), "features": features}
        points = {title: plots.tsne(rows, perplexity=perplexity) for title, rows in panels.items()}
        plots.embedding(points, labels, classes, folder / "tsne.png")


def _draw_neighbours(images: np.ndarray, features: np.ndarray, labels: np.ndarray, classes: list[str], folder: Path) -> None:
    """The nearest neighbours of a few images among the others."""
    count = min(_NEIGHBOURS, len(labels) - 1)
    if count > 0:
        nearest, _ = evaluate.neighbours(features, features[:_NEIGHBOUR_ROWS], k=count + 1)
        nearest = np.stack([row[row != index][:count] for index, row in enumerate(nearest)])  # an image is not its own neighbour
        known = {"query_labels": labels[:_NEIGHBOUR_ROWS], "neighbour_labels": labels[nearest], "classes": classes}
        plots.neighbours(images[:_NEIGHBOUR_ROWS], images[nearest], folder / "neighbours.png", **(known if labels.min() >= 0 else {}))


def _draw_confusion(logits: np.ndarray, labels: np.ndarray, classes: list[str], folder: Path) -> None:
    plots.confusion(evaluate.confusion_matrix(logits.argmax(-1), labels, len(classes)), classes, folder / "confusion.png")


def _draw_predictions(source, logits: np.ndarray, labels: np.ndarray, classes: list[str], folder: Path) -> None:
    """The images that the classifier is most wrong about."""
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    shown = plots.worst_first(labels, probabilities)[:_PREDICTIONS]
    images = [source[int(index)]["image"] for index in shown]
    plots.predictions(images, labels[shown], probabilities[shown], classes, folder / "predictions.png")

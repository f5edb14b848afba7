"""Features in two dimensions: t-SNE, and a scatter plot coloured by class."""

from pathlib import Path

import numpy as np

from jaxvision.plots import drawing

_MAX_NAMED_CLASSES = 20  # with more classes there is no legend
_MAX_DIMENSIONS = 50  # features of more dimensions are first reduced by principal component analysis


def tsne(features: np.ndarray, *, seed: int = 0, perplexity: float = 30.0) -> np.ndarray:
    """Map features [N, D] to points [N, 2] with t-SNE, computed by scikit-learn. Neighbours stay neighbours.

    The result depends only on the arguments: the start is the first two principal components, other draws use ``seed``. Features of more
    than 50 dimensions are first reduced to 50 principal components, as in the paper. ``perplexity``: about the number of neighbours that
    each point takes into account. Raises ValueError for features that are not [N, D] with N of at least 4 or not finite, and for a
    ``perplexity`` that is not between 0 and N. Source: van der Maaten & Hinton, "Visualizing Data using t-SNE", 2008.

    >>> import jaxvision as jv  # slow
    >>> import numpy as np
    >>> jv.plots.tsne(np.random.default_rng(0).normal(size=(20, 5)), perplexity=5).shape
    (20, 2)
    """
    features = np.asarray(features, np.float32)
    if features.ndim != 2 or len(features) < 4:
        raise ValueError(f"features: found shape {features.shape}, expected [N, D] with N of 4 or more (reshape images to rows)")
    if not np.isfinite(features).all():
        raise ValueError("features: found values that are not finite, expected numbers")
    if not 0 < perplexity < len(features):
        raise ValueError(f"perplexity: found {perplexity}, expected more than 0 and less than N = {len(features)}")
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
    except ImportError:
        raise ModuleNotFoundError("jv.plots.tsne computes with scikit-learn, which is not installed: pip install scikit-learn") from None
    if min(features.shape) > _MAX_DIMENSIONS:
        features = PCA(_MAX_DIMENSIONS, random_state=seed, svd_solver="full").fit_transform(features)
    start = PCA(2, svd_solver="full").fit_transform(features) if features.shape[1] > 1 else np.pad(features, ((0, 0), (0, 1)))
    start = (1e-4 * start / max(float(start[:, 0].std()), 1e-12)).astype(np.float32)
    return TSNE(2, perplexity=perplexity, init=start, random_state=seed, n_jobs=1).fit_transform(features)


def embedding(points: dict[str, np.ndarray], labels: np.ndarray, classes: list[str], path: str | Path) -> None:
    """Draw scatter plots of points [N, 2], coloured by labels [N], one panel for each title in ``points``.

    There is a legend for up to 20 classes. Raises ValueError for points of another shape, no panels, and labels outside the ``classes``.

    >>> import jaxvision as jv  # slow
    >>> import tempfile
    >>> import numpy as np
    >>> path = tempfile.mkdtemp() + "/embedding.png"
    >>> jv.plots.embedding({"features": np.eye(2)}, np.array([0, 1]), ["cat", "dog"], path)
    """
    labels = np.asarray(labels)
    for title, coordinates in points.items():
        if np.shape(coordinates) != (len(labels), 2):
            raise ValueError(
                f"points: {title!r} has shape {np.shape(coordinates)}, expected [N, 2] with N = {len(labels)}, the number of labels"
            )
    if not points or labels.ndim != 1 or not len(labels) or labels.min() < 0 or labels.max() >= len(classes):
        found = f"{len(points)} panels and labels {labels.shape}"
        raise ValueError(f"points, labels: found {found}, expected one panel or more, and labels [N] from 0 to {len(classes) - 1}")
    named = len(classes) <= _MAX_NAMED_CLASSES
    figure, axes = drawing.sheet(4.0 * len(points) + (1.5 if named else 0), 4.2, 1, len(points))
    from matplotlib import colormaps

    palette = colormaps["tab10" if len(classes) <= 10 else "tab20" if named else "hsv"]
    color = lambda index: palette(index if named else index / len(classes))  # noqa: E731
    size = float(np.clip(3000 / len(labels), 2, 24))
    for axis, (title, coordinates) in zip(axes[0], points.items(), strict=True):
        for index in np.unique(labels):
            name = drawing.fitted("{}", classes[index], 8, 90)
            axis.scatter(*np.asarray(coordinates)[labels == index].T, s=size, color=color(int(index)), linewidths=0, alpha=0.8, label=name)
        axis.set_title(drawing.fitted("{}", title, 10, 260), fontsize=10)
        axis.set_xticks([])
        axis.set_yticks([])
    if named:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8, markerscale=2)
    drawing.save(figure, path)

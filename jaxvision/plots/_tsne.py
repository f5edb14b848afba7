"""Features in the plane: t-SNE, and points coloured by their class."""

import numpy as np

from jaxvision.plots import drawing

_LEGEND = 20  # more classes get colours without names
_COMPONENTS = 50  # wider features are first reduced to so many


def tsne(features: np.ndarray, *, seed: int = 0, perplexity: float = 30.0) -> np.ndarray:
    """Features [N, D] as points [N, 2] whose neighbours are the same (van der Maaten & Hinton, 2008), with scikit-learn.

    Deterministic: it begins from the principal components, and ``seed`` draws what is left. Features of more than 50 dimensions are first
    reduced to their 50 principal components, as the paper does. Raises ValueError for features that are not finite or not [N, D], and for a
    ``perplexity`` (about the number of neighbours that count) that is not below N.
    """
    features = np.asarray(features, np.float32)
    if features.ndim != 2 or len(features) < 4:
        raise ValueError(f"features: found shape {features.shape}, expected [N, D] with N of 4 or more (images become rows by reshape)")
    if not np.isfinite(features).all():
        raise ValueError("features: found values that are not finite, expected numbers")
    if not 0 < perplexity < len(features):
        raise ValueError(f"perplexity: found {perplexity}, expected more than 0 and less than N = {len(features)}")
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
    except ImportError:
        raise ModuleNotFoundError("jv.plots.tsne computes with scikit-learn, which is not installed: pip install scikit-learn") from None
    if min(features.shape) > _COMPONENTS:
        features = PCA(_COMPONENTS, random_state=seed, svd_solver="full").fit_transform(features)
    start = PCA(2, svd_solver="full").fit_transform(features) if features.shape[1] > 1 else np.pad(features, ((0, 0), (0, 1)))
    start = (1e-4 * start / max(float(start[:, 0].std()), 1e-12)).astype(np.float32)
    return TSNE(2, perplexity=perplexity, init=start, random_state=seed, n_jobs=1).fit_transform(features)


def embedding(points: dict[str, np.ndarray], labels: np.ndarray, classes: list[str], path) -> None:
    """Panels of points [N, 2], each under its title, coloured by labels [N]: raw pixels beside learned features, say.

    The classes are named beside the panels, where they are at most 20. Raises ValueError for arrays that do not fit one another.
    """
    labels = np.asarray(labels)
    for title, found in points.items():
        if np.shape(found) != (len(labels), 2):
            raise ValueError(f"points: {title!r} has shape {np.shape(found)}, expected [N, 2] with N = {len(labels)}, the number of labels")
    if not points or labels.ndim != 1 or not len(labels) or labels.min() < 0 or labels.max() >= len(classes):
        found = f"{len(points)} panels and labels {labels.shape}"
        raise ValueError(f"points, labels: found {found}, expected one panel or more, and labels [N] from 0 to {len(classes) - 1}")
    named = len(classes) <= _LEGEND
    figure, axes = drawing.sheet(4.0 * len(points) + (1.5 if named else 0), 4.2, 1, len(points))
    from matplotlib import colormaps

    palette = colormaps["tab10" if len(classes) <= 10 else "tab20" if named else "hsv"]
    color = lambda index: palette(index if named else index / len(classes))  # noqa: E731
    size = float(np.clip(3000 / len(labels), 2, 24))
    for axis, (title, found) in zip(axes[0], points.items(), strict=True):
        for index in np.unique(labels):
            name = drawing.fitted("{}", classes[index], 8, 90)
            axis.scatter(*np.asarray(found)[labels == index].T, s=size, color=color(int(index)), linewidths=0, alpha=0.8, label=name)
        axis.set_title(drawing.fitted("{}", title, 10, 260), fontsize=10)
        axis.set_xticks([])
        axis.set_yticks([])
    if named:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8, markerscale=2)
    drawing.save(figure, path)

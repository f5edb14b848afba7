"""Pictures of runs and networks, from arrays to a PNG file. No window is ever opened."""

from jaxvision.plots.answers import confusion, predictions, worst_first
from jaxvision.plots.attending import attention
from jaxvision.plots.grids import augmentations, gradients, neighbours, reconstructions, top_patches
from jaxvision.plots.kernels import filters
from jaxvision.plots.planes import embedding, tsne
from jaxvision.plots.progress import comparison, curves

__all__ = [
    "attention",
    "augmentations",
    "comparison",
    "confusion",
    "curves",
    "embedding",
    "filters",
    "gradients",
    "neighbours",
    "predictions",
    "reconstructions",
    "top_patches",
    "tsne",
    "worst_first",
]

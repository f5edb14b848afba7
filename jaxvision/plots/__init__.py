"""Pictures of runs and networks, from arrays to a PNG file. No window is ever opened."""

from jaxvision._public import set_public_names
from jaxvision.plots._attention import attention
from jaxvision.plots._curves import comparison, curves
from jaxvision.plots._filters import filters
from jaxvision.plots._predictions import confusion, predictions, worst_first
from jaxvision.plots._tsne import embedding, tsne
from jaxvision.plots.drawers import draw_attention, draw_reconstructions
from jaxvision.plots.grids import augmentations, gradients, neighbours, reconstructions, top_patches

__all__ = [
    "attention",
    "augmentations",
    "comparison",
    "confusion",
    "curves",
    "draw_attention",
    "draw_reconstructions",
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
set_public_names(__name__, __all__)

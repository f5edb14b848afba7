"""Plots of runs and networks: functions that write arrays to a PNG file with matplotlib. They open no window."""

from jaxvision._public import set_public_names
from jaxvision.plots._attention import attention
from jaxvision.plots._curves import comparison, curves
from jaxvision.plots._filters import filters
from jaxvision.plots._predictions import confusion, predictions, worst_first
from jaxvision.plots._tsne import embedding, tsne
from jaxvision.plots.drawers import draw_attention, draw_reconstructions
from jaxvision.plots.grids import augmentations, gradients, neighbours, reconstructions, top_patches

__all__ = [
    # runs
    "comparison",
    "curves",
    # predictions
    "confusion",
    "predictions",
    "worst_first",
    # features
    "embedding",
    "neighbours",
    "tsne",
    # what a network has learned
    "attention",
    "filters",
    "gradients",
    "reconstructions",
    "top_patches",
    # functions for RunOptions(draw=...)
    "draw_attention",
    "draw_reconstructions",
    # input
    "augmentations",
]
set_public_names(__name__, __all__)

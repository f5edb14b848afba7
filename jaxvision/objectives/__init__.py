"""Training signals, one method a file: the modules it trains, its memory, its binding to a loss."""

from jaxvision.objectives.bootstrap import byol
from jaxvision.objectives.classification import supervised
from jaxvision.objectives.confident import pseudo_label
from jaxvision.objectives.contrast import simclr, supervised_contrastive
from jaxvision.objectives.masked import mae, mae_reconstruction
from jaxvision.objectives.masked_convolution import fcmae, fcmae_reconstruction
from jaxvision.objectives.patches import patchify, unpatchify
from jaxvision.objectives.puzzle import jigsaw
from jaxvision.objectives.reconstruction import autoencoder, autoencoder_reconstruction
from jaxvision.objectives.self_distillation import dino
from jaxvision.objectives.sequence import translation
from jaxvision.objectives.teaching import distill
from jaxvision.objectives.variation import vicreg

__all__ = [
    "autoencoder",
    "autoencoder_reconstruction",
    "byol",
    "dino",
    "distill",
    "fcmae",
    "fcmae_reconstruction",
    "jigsaw",
    "mae",
    "mae_reconstruction",
    "patchify",
    "pseudo_label",
    "simclr",
    "supervised",
    "supervised_contrastive",
    "translation",
    "unpatchify",
    "vicreg",
]

"""Training objectives, one method a file: the modules it trains, its memory, and its loss."""

from jaxvision._public import set_public_names
from jaxvision.objectives._autoencoder import autoencoder, autoencoder_reconstruction
from jaxvision.objectives._byol import byol
from jaxvision.objectives._dino import dino
from jaxvision.objectives._distillation import distill
from jaxvision.objectives._fcmae import fcmae, fcmae_reconstruction
from jaxvision.objectives._jigsaw import jigsaw
from jaxvision.objectives._mae import mae, mae_reconstruction
from jaxvision.objectives._patches import patchify, unpatchify
from jaxvision.objectives._pseudo_label import pseudo_label
from jaxvision.objectives._simclr import simclr, supervised_contrastive
from jaxvision.objectives._simsiam import simsiam
from jaxvision.objectives._supervised import supervised
from jaxvision.objectives._translation import translation
from jaxvision.objectives._vicreg import vicreg

__all__ = [
    # labels, and the predictions of another model
    "supervised",
    "translation",
    "distill",
    "pseudo_label",
    # views of one image
    "simclr",
    "supervised_contrastive",
    "byol",
    "simsiam",
    "vicreg",
    "dino",
    # reconstruction and puzzles
    "autoencoder",
    "autoencoder_reconstruction",
    "mae",
    "mae_reconstruction",
    "fcmae",
    "fcmae_reconstruction",
    "jigsaw",
    "patchify",
    "unpatchify",
]
set_public_names(__name__, __all__)

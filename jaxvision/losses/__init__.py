"""Loss functions: arrays in, arrays out, one formula per file; computed in float32 or wider.

Under a mapped axis "data" a loss returns its shard's share: the mean over the axis is the loss of the global batch.
"""

from jaxvision._public import set_public_names
from jaxvision.losses._average_precision import mean_average_precision
from jaxvision.losses._barlow_twins import barlow_twins
from jaxvision.losses._byol import byol
from jaxvision.losses._classification import (
    binary_cross_entropy,
    cross_entropy,
    likelihood,
    median_frequency_weights,
    negative_log_likelihood,
    softmax,
)
from jaxvision.losses._contrastive import nt_xent, supervised_contrastive
from jaxvision.losses._dino import dino, dino_center, dino_entropy
from jaxvision.losses._dino_prototypes import dino_prototypes, dino_prototypes_center, dino_prototypes_entropy
from jaxvision.losses._distillation import knowledge_distillation, pseudo_label
from jaxvision.losses._jigsaw import jigsaw, jigsaw_permutations
from jaxvision.losses._koleo import effective_rank, koleo
from jaxvision.losses._reconstruction import gaussian_kl, masked_mse, mean_squared_error
from jaxvision.losses._sequence import sequence_cross_entropy
from jaxvision.losses._vicreg import vicreg

__all__ = [
    # classification
    "softmax",
    "likelihood",
    "negative_log_likelihood",
    "cross_entropy",
    "binary_cross_entropy",
    "sequence_cross_entropy",
    "median_frequency_weights",
    "mean_average_precision",
    # views of one image
    "nt_xent",
    "supervised_contrastive",
    "byol",
    "barlow_twins",
    "vicreg",
    "dino",
    "dino_center",
    "dino_entropy",
    "dino_prototypes",
    "dino_prototypes_center",
    "dino_prototypes_entropy",
    "koleo",
    "effective_rank",
    # reconstruction and puzzles
    "mean_squared_error",
    "masked_mse",
    "gaussian_kl",
    "jigsaw",
    "jigsaw_permutations",
    # predictions of another model
    "knowledge_distillation",
    "pseudo_label",
]
set_public_names(__name__, __all__)

"""Loss functions: arrays in, arrays out, one formula a file; computed in float32 or wider.

Under a mapped axis "data" a loss returns its shard's share: the mean over the axis is the loss of the global batch.
"""

from jaxvision._public import set_public_names
from jaxvision.losses._average_precision import mean_average_precision
from jaxvision.losses._byol import barlow_twins, byol
from jaxvision.losses._classification import binary_cross_entropy, cross_entropy, median_frequency_weights, softmax
from jaxvision.losses._contrastive import nt_xent, supervised_contrastive
from jaxvision.losses._dino import (
    dino,
    dino_center,
    dino_entropy,
    dino_prototypes,
    dino_prototypes_center,
    dino_prototypes_entropy,
)
from jaxvision.losses._distillation import knowledge_distillation, pseudo_label
from jaxvision.losses._jigsaw import jigsaw, jigsaw_permutations
from jaxvision.losses._koleo import effective_rank, koleo
from jaxvision.losses._likelihood import likelihood, negative_log_likelihood
from jaxvision.losses._reconstruction import gaussian_kl, masked_mse, mean_squared_error
from jaxvision.losses._sequence import sequence_cross_entropy
from jaxvision.losses._vicreg import vicreg

__all__ = [
    "barlow_twins",
    "binary_cross_entropy",
    "byol",
    "cross_entropy",
    "dino",
    "dino_center",
    "dino_entropy",
    "dino_prototypes",
    "dino_prototypes_center",
    "dino_prototypes_entropy",
    "effective_rank",
    "gaussian_kl",
    "jigsaw",
    "jigsaw_permutations",
    "knowledge_distillation",
    "koleo",
    "likelihood",
    "masked_mse",
    "mean_average_precision",
    "mean_squared_error",
    "median_frequency_weights",
    "negative_log_likelihood",
    "nt_xent",
    "pseudo_label",
    "sequence_cross_entropy",
    "softmax",
    "supervised_contrastive",
    "vicreg",
]
set_public_names(__name__, __all__)

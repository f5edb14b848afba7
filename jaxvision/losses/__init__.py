"""Loss functions: arrays in, arrays out, one formula a file; computed in float32 or wider.

Under a mapped axis "data" a loss returns its shard's share: the mean over the axis is the loss of the global batch.
"""

from jaxvision.losses.classification import binary_cross_entropy, cross_entropy, median_frequency_weights, softmax
from jaxvision.losses.likelihoods import likelihood, negative_log_likelihood
from jaxvision.losses.ranking import mean_average_precision
from jaxvision.losses.sequences import sequence_cross_entropy

__all__ = [
    "binary_cross_entropy",
    "cross_entropy",
    "likelihood",
    "mean_average_precision",
    "median_frequency_weights",
    "negative_log_likelihood",
    "sequence_cross_entropy",
    "softmax",
]

"""Functions with compiled forms, each with its reference implementation (``plain_*``); no model knows which form runs."""

from jaxvision._public import set_public_names
from jaxvision.kernels._adam import AdamArrays, AdamNumbers, adam, adam_is_compiled, plain_adam
from jaxvision.kernels._attention import attention, plain_attention, plain_self_attention, self_attention
from jaxvision.kernels._barrier import barrier
from jaxvision.kernels._batch_norm import moments, plain_moments, plain_rescaled, rescaled
from jaxvision.kernels._blur import blur, plain_blur
from jaxvision.kernels._chunked_cross_entropy import (
    plain_prototype_cross_entropy,
    plain_prototype_entropy,
    prototype_cross_entropy,
    prototype_entropy,
)
from jaxvision.kernels._chunked_logsumexp import log_sum_exp_of_others, plain_log_sum_exp_of_others
from jaxvision.kernels._color_jitter import jitter, plain_jitter
from jaxvision.kernels._conv import conv2d, plain_conv2d
from jaxvision.kernels._gelu import gelu, plain_gelu
from jaxvision.kernels._layer_norm import layer_norm, plain_layer_norm, standardized
from jaxvision.kernels._matmul import plain_product, product
from jaxvision.kernels._max_pool import max_pool, plain_max_pool
from jaxvision.kernels._unit_vectors import inverse_lengths, unit_rows

__all__ = [
    # convolutions, products, pooling
    "conv2d",
    "plain_conv2d",
    "product",
    "plain_product",
    "max_pool",
    "plain_max_pool",
    # attention
    "attention",
    "plain_attention",
    "self_attention",
    "plain_self_attention",
    # normalization and activations
    "layer_norm",
    "plain_layer_norm",
    "moments",
    "plain_moments",
    "rescaled",
    "plain_rescaled",
    "standardized",
    "inverse_lengths",
    "unit_rows",
    "gelu",
    "plain_gelu",
    # losses in chunks
    "log_sum_exp_of_others",
    "plain_log_sum_exp_of_others",
    "prototype_cross_entropy",
    "plain_prototype_cross_entropy",
    "prototype_entropy",
    "plain_prototype_entropy",
    # images
    "blur",
    "plain_blur",
    "jitter",
    "plain_jitter",
    # updates of parameters
    "AdamArrays",
    "AdamNumbers",
    "adam",
    "adam_is_compiled",
    "plain_adam",
    # the order of computation
    "barrier",
]
set_public_names(__name__, __all__)

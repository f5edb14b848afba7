"""Compiled fast paths, each with its plain twin: every layer computes through these, and no model knows which form ran."""

from jaxvision.kernels.convolution import conv2d, plain_conv2d
from jaxvision.kernels.dot_product import attention

__all__ = ["attention", "conv2d", "plain_conv2d"]

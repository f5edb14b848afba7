"""Layers that are linear in their input: convolution and dense, initialised as PyTorch does unless told otherwise."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxvision import kernels
from jaxvision.layers.initializers import torch_default, uniform_bias
from jaxvision.typing import Array


def standardize(kernel: Array, *, epsilon: float = 1e-6) -> Array:
    """A kernel [..., D] whose weights have mean 0 and variance 1 in each output unit (Qiao et al., "Weight Standardization", 2019)."""
    over = tuple(range(kernel.ndim - 1))
    return kernels.standardized(kernel, over, epsilon)


class Conv(nn.Module):
    """Convolution [B, H, W, C] -> [B, h, w, D]; parameters ``kernel`` [kh, kw, C / groups, D] and ``bias`` [D].

    ``standardized``: it computes with the standardised kernel (``standardize``).
    """

    features: int
    kernel_size: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] = 0
    dilation: int | tuple[int, int] = 1
    groups: int = 1
    use_bias: bool = True
    dtype: Any = None
    kernel_init: Callable = torch_default
    bias_init: Callable | None = None  # None: PyTorch's default, which depends on the kernel's fan-in
    standardized: bool = False

    @nn.compact
    def __call__(self, image: Array) -> Array:
        size = (self.kernel_size, self.kernel_size) if isinstance(self.kernel_size, int) else tuple(self.kernel_size)
        shape = (*size, image.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        kernel = standardize(kernel) if self.standardized else kernel
        dtype = self.dtype or jnp.promote_types(image.dtype, jnp.float32)
        found = kernels.conv2d(
            image.astype(dtype),
            kernel.astype(dtype),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        if not self.use_bias:
            return found
        bias = self.param("bias", self.bias_init or uniform_bias(math.prod(shape[:-1])), (self.features,), jnp.float32)
        return found + bias.astype(dtype)


class Dense(nn.Module):
    """x [..., in] -> [..., out], or so many of the outputs as ``columns`` has; parameters ``kernel`` [in, out] and ``bias`` [out]."""

    features: int
    use_bias: bool = True
    dtype: Any = None
    kernel_init: Callable = torch_default
    bias_init: Callable | None = None

    @nn.compact
    def __call__(self, x: Array, *, columns: slice = slice(None)) -> Array:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        dtype = self.dtype or jnp.promote_types(x.dtype, jnp.float32)
        found = kernels.product(x.astype(dtype), kernel[:, columns].astype(dtype))
        if not self.use_bias:
            return found
        bias = self.param("bias", self.bias_init or uniform_bias(x.shape[-1]), (self.features,), jnp.float32)
        return found + bias[columns].astype(dtype)

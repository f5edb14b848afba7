"""Convolution and dense layers, with PyTorch's initialization by default."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxvision import kernels
from jaxvision.layers.initializers import torch_default, uniform_bias
from jaxvision.typing import Array


def standardize(kernel: Array, *, epsilon: float = 1e-6) -> Array:
    """Weight standardization: (w - mean) / sqrt(var + epsilon), with mean and variance over all axes but the last, for a kernel [..., D].

    Source: Qiao et al., "Micro-Batch Training with Batch-Channel Normalization and Weight Standardization", 2019, equation 11.

    >>> import jaxvision as jv
    >>> import jax.numpy as jnp
    >>> jv.layers.standardize(jnp.array([[1.0], [3.0]])).round(3).tolist()
    [[-1.0], [1.0]]
    """
    return kernels.standardized(kernel, tuple(range(kernel.ndim - 1)), epsilon)


class Conv(nn.Module):
    """Convolution [B, H, W, C] -> [B, h, w, D] with explicit padding, h = floor((H + 2 padding - dilation (k - 1) - 1) / stride) + 1.

    Parameters: ``kernel`` [kh, kw, C / groups, D] and ``bias`` [D]. ``standardized=True`` applies ``standardize`` to the kernel first.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> conv, image = jv.layers.Conv(features=4, kernel_size=3, stride=2, padding=1), jax.numpy.ones((1, 8, 8, 3))
    >>> conv.init_with_output(jax.random.key(0), image)[0].shape
    (1, 4, 4, 4)
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
        output = kernels.conv2d(
            image.astype(dtype),
            kernel.astype(dtype),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        if not self.use_bias:
            return output
        bias = self.param("bias", self.bias_init or uniform_bias(math.prod(shape[:-1])), (self.features,), jnp.float32)
        return output + bias.astype(dtype)


class Dense(nn.Module):
    """Dense layer x W + b: x [..., in] -> [..., out]; parameters ``kernel`` [in, out] and ``bias`` [out].

    The call computes only the outputs in the slice ``columns``.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> dense, x = jv.layers.Dense(features=4), jax.numpy.ones((2, 3))
    >>> dense.init_with_output(jax.random.key(0), x)[0].shape
    (2, 4)
    """

    features: int
    use_bias: bool = True
    dtype: Any = None
    kernel_init: Callable = torch_default
    bias_init: Callable | None = None

    @nn.compact
    def __call__(self, x: Array, *, columns: slice = slice(None)) -> Array:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        dtype = self.dtype or jnp.promote_types(x.dtype, jnp.float32)
        output = kernels.product(x.astype(dtype), kernel[:, columns].astype(dtype))
        if not self.use_bias:
            return output
        bias = self.param("bias", self.bias_init or uniform_bias(x.shape[-1]), (self.features,), jnp.float32)
        return output + bias[columns].astype(dtype)

"""The unit of most convolutional nets: convolution, batch normalisation, activation; and the separable convolution."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from jaxvision.layers.initializers import he_normal_fan_out
from jaxvision.layers.linear import Conv
from jaxvision.layers.norm import BatchNorm
from jaxvision.typing import Array


class ConvNorm(nn.Module):
    """[B, H, W, C] -> [B, h, w, D] through ``conv`` (no bias), ``norm`` and ``activation`` (None: none).

    ``padding`` None keeps the size at stride 1, half the kernel on each side. Without ``use_norm`` the convolution has a bias instead.
    """

    features: int
    kernel_size: int | tuple[int, int]
    stride: int = 1
    padding: int | tuple[int, int] | None = None
    groups: int = 1
    activation: Callable | None = jax.nn.relu
    epsilon: float = 1e-5
    momentum: float = 0.1
    dtype: Any = None
    kernel_init: Callable = he_normal_fan_out
    use_norm: bool = True

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        size, padding = self.kernel_size, self.padding
        if padding is None:
            padding = size // 2 if isinstance(size, int) else tuple(length // 2 for length in size)
        options = {"groups": self.groups, "use_bias": not self.use_norm, "dtype": self.dtype, "kernel_init": self.kernel_init}
        x = Conv(self.features, size, self.stride, padding, name="conv", **options)(x)
        if self.use_norm:
            x = BatchNorm(self.momentum, self.epsilon, self.dtype, name="norm")(x, train=train)
        return x if self.activation is None else self.activation(x)


class SeparableConv(nn.Module):
    """A convolution in two factors: each channel by itself (``depthwise``), then all channels at each place (``pointwise``).

    For 512 channels and 3 x 3 it has 266,752 weights for 2,359,296.
    """

    features: int
    kernel_size: int
    stride: int = 1
    padding: int | None = None
    dtype: Any = None
    kernel_init: Callable = he_normal_fan_out

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels, options = x.shape[-1], {"use_bias": False, "dtype": self.dtype, "kernel_init": self.kernel_init}
        padding = self.kernel_size // 2 if self.padding is None else self.padding
        x = Conv(channels, self.kernel_size, self.stride, padding, groups=channels, name="depthwise", **options)(x)
        return Conv(self.features, 1, name="pointwise", **options)(x)

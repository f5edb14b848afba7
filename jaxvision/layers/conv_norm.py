"""Convolution with batch normalization and activation, and the depthwise separable convolution."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from jaxvision.layers.initializers import he_normal_fan_out
from jaxvision.layers.linear import Conv
from jaxvision.layers.norm import BatchNorm
from jaxvision.typing import Array


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalization, activation (None: identity): [B, H, W, C] -> [B, h, w, D].

    ``padding`` None is half the kernel size on each side, which keeps the size at stride 1. With ``use_norm=False`` there is no norm, and
    the convolution has a bias.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> layer, x = jv.layers.ConvNorm(features=4, kernel_size=3, stride=2), jax.numpy.ones((1, 8, 8, 3))
    >>> variables = layer.init(jax.random.key(0), x, train=False)
    >>> layer.apply(variables, x, train=False).shape
    (1, 4, 4, 4)
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
    """Depthwise separable convolution: a ``depthwise`` k x k, then a ``pointwise`` 1 x 1 convolution, [B, H, W, C] -> [B, h, w, D].

    It has k^2 C + C D weights, a convolution k^2 C D: for k = 3 and C = D = 512, 266,752 instead of 2,359,296. Source: Chollet, "Xception",
    2017, section 3.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> layer, x = jv.layers.SeparableConv(features=4, kernel_size=3), jax.numpy.ones((1, 8, 8, 3))
    >>> layer.init_with_output(jax.random.key(0), x)[0].shape
    (1, 8, 8, 4)
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

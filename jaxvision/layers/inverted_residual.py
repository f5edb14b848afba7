"""The inverted residual (Sandler et al., "MobileNetV2", 2018): narrow ends, a wide depthwise middle; EfficientNet's MBConv as well."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from jaxvision.layers.conv_norm import ConvNorm
from jaxvision.layers.drop import DropPath
from jaxvision.layers.initializers import he_normal_fan_out
from jaxvision.layers.shortcut import joined
from jaxvision.layers.squeeze_excite import SqueezeExcite
from jaxvision.typing import Array


class InvertedResidual(nn.Module):
    """``expand`` to ``hidden`` channels (left out where there are as many already), ``depthwise``, ``squeeze``, ``project``.

    The shortcut is there where stride and channels allow it. ``squeeze`` is the number of hidden units; 0 leaves it out.
    """

    features: int
    hidden: int
    kernel_size: int
    stride: int = 1
    squeeze: int = 0
    activation: Callable = jax.nn.relu6
    squeeze_activation: Callable = jax.nn.relu
    gate: Callable = jax.nn.sigmoid
    epsilon: float = 1e-5
    momentum: float = 0.1
    drop_path_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        options = {"epsilon": self.epsilon, "momentum": self.momentum, "dtype": self.dtype}
        active, branch = options | {"activation": self.activation}, x
        if self.hidden != x.shape[-1]:
            branch = ConvNorm(self.hidden, 1, name="expand", **active)(branch, train=train)
        depthwise = ConvNorm(self.hidden, self.kernel_size, self.stride, groups=self.hidden, name="depthwise", **active)
        branch = depthwise(branch, train=train)
        if self.squeeze:
            gates = (self.squeeze_activation, self.gate)
            branch = SqueezeExcite(self.squeeze, *gates, self.dtype, he_normal_fan_out, name="squeeze")(branch)
        branch = ConvNorm(self.features, 1, activation=None, name="project", **options)(branch, train=train)
        if self.stride != 1 or x.shape[-1] != self.features:
            return branch
        return joined(x + DropPath(self.drop_path_rate)(branch, train=train))

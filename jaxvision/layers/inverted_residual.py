"""The inverted residual block of MobileNetV2 (Sandler et al., 2018), which is also EfficientNet's MBConv."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from jaxvision.layers.conv_norm import ConvNorm
from jaxvision.layers.drop import DropPath
from jaxvision.layers.initializers import he_normal_fan_out
from jaxvision.layers.residual import residual_output
from jaxvision.layers.squeeze_excite import SqueezeExcite
from jaxvision.typing import Array


class InvertedResidual(nn.Module):
    """Inverted residual block: x [B, H, W, C] -> [B, h, w, ``features``], wide in the middle.

    A 1 x 1 convolution ``expand`` to ``hidden`` channels (omitted if C = ``hidden``), a ``depthwise`` convolution, squeeze-and-excitation
    with ``squeeze`` units (0: none), and a 1 x 1 convolution ``project``. It has a shortcut if the stride is 1 and C = ``features``.
    Source: Sandler et al., "MobileNetV2", 2018, section 3.3.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> block, x = jv.layers.InvertedResidual(features=4, hidden=8, kernel_size=3), jax.numpy.ones((1, 8, 8, 4))
    >>> variables = block.init(jax.random.key(0), x, train=False)
    >>> block.apply(variables, x, train=False).shape
    (1, 8, 8, 4)
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
        return residual_output(x + DropPath(self.drop_path_rate)(branch, train=train))

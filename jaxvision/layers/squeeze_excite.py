"""Squeeze-and-excitation (Hu et al., 2018): a gate for each channel, computed from the whole image."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from jaxvision.layers.linear import Conv
from jaxvision.layers.pooling import global_mean
from jaxvision.typing import Array


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation: x -> x * gate(expand(activation(reduce(mean(x))))), x [B, h, w, C], the gate [B, 1, 1, C].

    The mean is over all positions. ``reduce`` (to ``hidden`` channels) and ``expand`` are 1 x 1 convolutions with biases. ``gate`` is the
    sigmoid or, in MobileNetV3, the hard sigmoid. Source: Hu et al., "Squeeze-and-Excitation Networks", 2018, equations 2 to 4.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> layer, x = jv.layers.SqueezeExcite(hidden=2), jax.numpy.ones((1, 4, 4, 8))
    >>> layer.init_with_output(jax.random.key(0), x)[0].shape
    (1, 4, 4, 8)
    """

    hidden: int
    activation: Callable = jax.nn.relu
    gate: Callable = jax.nn.sigmoid
    dtype: Any = None
    kernel_init: Callable | None = None  # None: PyTorch's defaults, for the biases too

    @nn.compact
    def __call__(self, x: Array) -> Array:
        options = {"dtype": self.dtype}
        if self.kernel_init is not None:
            options |= {"kernel_init": self.kernel_init, "bias_init": nn.initializers.zeros}
        squeezed = global_mean(x)[:, None, None]  # [B, 1, 1, C]
        squeezed = squeezed if self.dtype else squeezed.astype(x.dtype)
        hidden = self.activation(Conv(self.hidden, 1, name="reduce", **options)(squeezed))
        return x * self.gate(Conv(x.shape[-1], 1, name="expand", **options)(hidden)).astype(x.dtype)

"""Squeeze-and-excitation (Hu et al., 2018): channels weighed by what the whole image shows; for any convolutional net."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from jaxvision.layers.linear import Conv
from jaxvision.layers.pooling import global_mean
from jaxvision.typing import Array


class SqueezeExcite(nn.Module):
    """x [B, h, w, C] times a gate [B, 1, 1, C] computed from the mean of each channel through ``hidden`` units.

    The two maps are 1 x 1 convolutions with biases, ``reduce`` and ``expand``; ``gate`` is sigmoid, or its piecewise linear form.
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

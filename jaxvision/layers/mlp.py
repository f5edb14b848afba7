"""The perceptron of a transformer block: two layers, or the gated form."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from jaxvision import kernels
from jaxvision.layers.initializers import truncated_normal
from jaxvision.layers.linear import Dense
from jaxvision.typing import Array


class MLP(nn.Module):
    """tokens [B, N, D] -> [B, N, D] through ``hidden`` units and an exact GELU, or another ``activation``."""

    hidden: int
    dtype: Any = None
    kernel_init: Callable = truncated_normal()
    bias_init: Callable = nn.initializers.zeros
    activation: Callable = kernels.gelu

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        options = {"dtype": self.dtype, "kernel_init": self.kernel_init, "bias_init": self.bias_init}
        hidden = self.activation(Dense(self.hidden, name="expand", **options)(tokens))
        return Dense(tokens.shape[-1], name="contract", **options)(checkpoint_name(hidden, "hidden"))


class SwiGLU(nn.Module):
    """tokens [B, N, D] -> [B, N, D]: ``hidden`` units times the SiLU of as many others (Shazeer, "GLU Variants", 2020).

    One kernel ``expand`` [D, 2 hidden] makes both, the gate first.
    """

    hidden: int
    dtype: Any = None
    kernel_init: Callable = truncated_normal()

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        options = {"dtype": self.dtype, "kernel_init": self.kernel_init, "bias_init": nn.initializers.zeros}
        gate, hidden = jnp.split(Dense(2 * self.hidden, name="expand", **options)(tokens), 2, axis=-1)
        return Dense(tokens.shape[-1], name="contract", **options)(checkpoint_name(jax.nn.silu(gate) * hidden, "hidden"))

"""The MLP of a transformer block: two dense layers, or the gated form SwiGLU."""

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
    """Two dense layers with an activation between them: tokens [B, N, D] -> [B, N, D], with ``hidden`` units.

    The activation is the exact GELU by default. Source: Vaswani et al., 2017, equation 2 (with ReLU).

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> layer, tokens = jv.layers.MLP(hidden=16), jax.numpy.ones((1, 3, 4))
    >>> layer.init_with_output(jax.random.key(0), tokens)[0].shape
    (1, 3, 4)
    """

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
    """Gated MLP: (silu(x W) * x V) U, tokens [B, N, D] -> [B, N, D], with ``hidden`` units.

    One kernel ``expand`` [D, 2 hidden] holds W and V, in that order. Source: Shazeer, "GLU Variants Improve Transformer", 2020, equation 6.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> layer, tokens = jv.layers.SwiGLU(hidden=16), jax.numpy.ones((1, 3, 4))
    >>> layer.init_with_output(jax.random.key(0), tokens)[0].shape
    (1, 3, 4)
    """

    hidden: int
    dtype: Any = None
    kernel_init: Callable = truncated_normal()

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        options = {"dtype": self.dtype, "kernel_init": self.kernel_init, "bias_init": nn.initializers.zeros}
        gate, hidden = jnp.split(Dense(2 * self.hidden, name="expand", **options)(tokens), 2, axis=-1)
        return Dense(tokens.shape[-1], name="contract", **options)(checkpoint_name(jax.nn.silu(gate) * hidden, "hidden"))

"""The two-layer perceptron of a transformer block."""

from typing import Any

import jax
from flax import linen as nn

from jaxvision.layers.initializers import truncated_normal
from jaxvision.layers.linear import Dense
from jaxvision.typing import Array


class MLP(nn.Module):
    """tokens [B, N, D] -> [B, N, D] through ``hidden`` units and an exact GELU."""

    hidden: int
    dtype: Any = None

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        options = {"dtype": self.dtype, "kernel_init": truncated_normal(), "bias_init": nn.initializers.zeros}
        hidden = jax.nn.gelu(Dense(self.hidden, name="expand", **options)(tokens), approximate=False)
        return Dense(tokens.shape[-1], name="contract", **options)(hidden)

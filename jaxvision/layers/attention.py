"""Multi-head self-attention (Vaswani et al., 2017)."""

from typing import Any

from flax import linen as nn

from jaxvision import kernels
from jaxvision.layers.initializers import truncated_normal
from jaxvision.layers.linear import Dense
from jaxvision.typing import Array


class SelfAttention(nn.Module):
    """tokens [B, N, D] -> [B, N, D]; queries, keys and values come from one kernel [D, 3 D], in that order."""

    heads: int
    dtype: Any = None

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        batch, count, width = tokens.shape
        if width % self.heads:
            raise ValueError(f"heads: {self.heads} do not divide the width {width}")
        options = {"dtype": self.dtype, "kernel_init": truncated_normal(), "bias_init": nn.initializers.zeros}
        joint = Dense(3 * width, name="qkv", **options)(tokens)
        joint = joint.reshape(batch, count, 3, self.heads, width // self.heads)  # [B, N, 3, h, d]
        mixed = kernels.attention(joint[:, :, 0], joint[:, :, 1], joint[:, :, 2])
        return Dense(width, name="project", **options)(mixed.reshape(batch, count, width))  # [B, N, D]

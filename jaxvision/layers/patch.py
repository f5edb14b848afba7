"""The patches that a hierarchical network begins with."""

from collections.abc import Callable
from typing import Any

from flax import linen as nn

from jaxvision.layers.initializers import torch_default
from jaxvision.layers.linear import Conv
from jaxvision.layers.norm import LayerNorm
from jaxvision.typing import Array


class PatchStem(nn.Module):
    """Patches of ``patch_size`` p and a norm: image [B, H, W, C] -> [B, H / p, W / p, D]."""

    width: int
    epsilon: float = 1e-6
    dtype: Any = None
    kernel_init: Callable = torch_default
    bias_init: Callable | None = None  # None: PyTorch's default
    patch_size: int = 4

    @nn.compact
    def __call__(self, image: Array) -> Array:
        init = {"kernel_init": self.kernel_init, "bias_init": self.bias_init}
        x = Conv(self.width, self.patch_size, self.patch_size, dtype=self.dtype, name="conv", **init)(image)
        return LayerNorm(self.epsilon, self.dtype, name="norm")(x)

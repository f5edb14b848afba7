"""Patch embedding: the first layers of hierarchical networks such as ConvNeXt and Swin."""

from collections.abc import Callable
from typing import Any

from flax import linen as nn

from jaxvision.layers.initializers import torch_default
from jaxvision.layers.linear import Conv
from jaxvision.layers.norm import LayerNorm
from jaxvision.typing import Array


class PatchStem(nn.Module):
    """Patch embedding followed by LayerNorm: image [B, H, W, C] -> [B, H / p, W / p, D], p = ``patch_size``, D = ``width``.

    The patches do not overlap; rows and columns that do not fill a patch are left out. Source: Liu et al., "Swin Transformer", 2021,
    section 3.1.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> stem, image = jv.layers.PatchStem(width=6), jax.numpy.ones((2, 8, 12, 3))
    >>> variables = stem.init(jax.random.key(0), image)
    >>> stem.apply(variables, image).shape
    (2, 2, 3, 6)
    """

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

"""The block of ConvNeXt (Liu et al., 2022) and ConvNeXt V2 (Woo et al., 2023), also where some places of the map are hidden.

Hidden places are zeros on a dense map, in the place of the sparse convolutions of the V2 paper (section 3.1): a convolution then sums over
the visible places alone, and what lies behind it is computed place by place.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxvision import kernels
from jaxvision.layers.drop import DropPath
from jaxvision.layers.global_response_norm import GlobalResponseNorm
from jaxvision.layers.initializers import truncated_normal
from jaxvision.layers.layer_scale import LayerScale
from jaxvision.layers.linear import Conv, Dense
from jaxvision.layers.norm import LayerNorm
from jaxvision.layers.shortcut import joined
from jaxvision.typing import Array

_INIT = {"kernel_init": truncated_normal(), "bias_init": nn.initializers.zeros}


def only_visible(x: Array, visible: Array | None) -> Array:
    """x [B, h, w, C] with zeros where ``visible`` [B, h, w, 1] is False; chosen, not multiplied, so that no infinity gets through."""
    return x if visible is None else jnp.where(visible, x, 0)


class ConvNextBlock(nn.Module):
    """A 7 x 7 depthwise convolution, a norm and a perceptron beside a shortcut: x [B, h, w, C] -> [B, h, w, C].

    ``response``: V2, with global response normalisation in the perceptron; else V1, which scales the branch. ``pointwise``: the
    perceptron's kernels are kept as 1 x 1 convolutions. Where ``visible`` [B, h, w, 1] is False x must be zero, and so is the outcome;
    elsewhere it does not depend on the hidden places.
    """

    response: bool
    pointwise: bool = False
    drop_path_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, visible: Array | None = None, *, train: bool) -> Array:
        width, options = x.shape[-1], _INIT | {"dtype": self.dtype}

        def mix(features: int, name: str) -> nn.Module:
            return Conv(features, 1, name=name, **options) if self.pointwise else Dense(features, name=name, **options)

        branch = Conv(width, 7, padding=3, groups=width, name="depthwise", **options)(x)
        branch = LayerNorm(dtype=self.dtype, name="norm")(only_visible(branch, visible))
        branch = kernels.gelu(mix(4 * width, "expand")(branch))
        if self.response:
            branch = GlobalResponseNorm(name="response")(branch, visible)
        branch = mix(width, "contract")(branch)
        if not self.response:
            branch = LayerScale(name="layer_scale")(branch)
        return joined(x + DropPath(self.drop_path_rate)(only_visible(branch, visible), train=train))

"""The block of ConvNeXt (Liu et al., 2022) and ConvNeXt V2 (Woo et al., 2023), with optional masking.

Masked positions are zeros in a dense map. This replaces the sparse convolutions of the V2 paper (section 3.1): the depthwise convolution
then sums over visible positions only, and the other layers treat each position separately.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxvision import kernels
from jaxvision.layers.drop import DropPath
from jaxvision.layers.initializers import truncated_normal
from jaxvision.layers.linear import Conv, Dense
from jaxvision.layers.norm import GlobalResponseNorm, LayerNorm
from jaxvision.layers.residual import LayerScale, residual_output
from jaxvision.typing import Array

_INIT = {"kernel_init": truncated_normal(), "bias_init": nn.initializers.zeros}


def mask_hidden(x: Array, visible: Array | None) -> Array:
    """x [B, h, w, C] with zeros where ``visible`` [B, h, w, 1] is False; x itself if ``visible`` is None.

    It selects and does not multiply, so that an infinite or NaN value at a hidden position becomes 0 too.

    >>> import jaxvision as jv
    >>> import jax.numpy as jnp
    >>> x, visible = jnp.array([[[[jnp.inf], [2.0]]]]), jnp.array([[[[False], [True]]]])
    >>> jv.layers.mask_hidden(x, visible).tolist()
    [[[[0.0], [2.0]]]]
    """
    return x if visible is None else jnp.where(visible, x, 0)


class ConvNextBlock(nn.Module):
    """Residual block of a 7 x 7 depthwise convolution, LayerNorm and an MLP: x [B, h, w, C] -> [B, h, w, C].

    ``response=True`` is V2, with global response normalization inside the MLP; ``response=False`` is V1, with LayerScale on the branch.
    ``pointwise``: the kernels of the MLP are stored as 1 x 1 convolutions. Where ``visible`` [B, h, w, 1] is False, x must be zero and the
    output is zero; the output elsewhere does not depend on hidden positions. Sources: Liu et al., "A ConvNet for the 2020s", 2022, figure
    4; Woo et al., "ConvNeXt V2", 2023, figure 5.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> block, x = jv.layers.ConvNextBlock(response=True), jax.numpy.ones((1, 8, 8, 4))
    >>> block.init_with_output(jax.random.key(0), x, train=False)[0].shape
    (1, 8, 8, 4)
    """

    response: bool
    pointwise: bool = False
    drop_path_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, visible: Array | None = None, *, train: bool) -> Array:
        width, options = x.shape[-1], _INIT | {"dtype": self.dtype}

        def dense(features: int, name: str) -> nn.Module:
            return Conv(features, 1, name=name, **options) if self.pointwise else Dense(features, name=name, **options)

        branch = Conv(width, 7, padding=3, groups=width, name="depthwise", **options)(x)
        branch = LayerNorm(dtype=self.dtype, name="norm")(mask_hidden(branch, visible))
        branch = kernels.gelu(dense(4 * width, "expand")(branch))
        if self.response:
            branch = GlobalResponseNorm(name="response")(branch, visible)
        branch = dense(width, "contract")(branch)
        if not self.response:
            branch = LayerScale(name="layer_scale")(branch)
        return residual_output(x + DropPath(self.drop_path_rate)(mask_hidden(branch, visible), train=train))

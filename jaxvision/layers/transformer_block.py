"""The pre-norm transformer block of Vision Transformers and of the decoder of masked autoencoders."""

from collections.abc import Callable
from typing import Any

from flax import linen as nn

from jaxvision.layers.attention import SelfAttention
from jaxvision.layers.drop import DropPath
from jaxvision.layers.initializers import truncated_normal
from jaxvision.layers.linen import sow
from jaxvision.layers.mlp import MLP, SwiGLU
from jaxvision.layers.norm import LayerNorm
from jaxvision.layers.residual import LayerScale, residual_output
from jaxvision.typing import Array


class TransformerBlock(nn.Module):
    """Pre-norm transformer block: x = x + attention(norm1(x)), then x = x + mlp(norm2(x)), for tokens [B, N, D].

    ``layer_scale``: initial value of LayerScale on both branches (0: none). ``gated=True``: SwiGLU instead of the MLP. ``pick`` [B, N, D]
    -> [B, n, D] selects the tokens that the block returns; of the others only keys and values are computed. Source: Dosovitskiy et al., "An
    Image is Worth 16x16 Words", 2021, equations 2 and 3.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> block, tokens = jv.layers.TransformerBlock(heads=2), jax.numpy.ones((1, 3, 4))
    >>> block.init_with_output(jax.random.key(0), tokens, train=False)[0].shape
    (1, 3, 4)
    """

    heads: int
    layer_scale: float = 0.0
    gated: bool = False
    drop_path_rate: float = 0.0
    dtype: Any = None
    kernel_init: Callable = truncated_normal()

    @nn.compact
    def __call__(self, tokens: Array, *, train: bool, pick: Callable | None = None) -> Array:
        width, init = tokens.shape[-1], {"kernel_init": self.kernel_init}

        def join(tokens: Array, branch: Array, name: str) -> Array:
            branch = LayerScale(self.layer_scale, name=name)(branch) if self.layer_scale else branch
            return residual_output(tokens + DropPath(self.drop_path_rate)(branch, train=train))

        attended = LayerNorm(dtype=self.dtype, name="norm1")(tokens)
        attended = SelfAttention(self.heads, self.dtype, name="attention", **init)(attended, pick=pick)
        tokens = join(tokens if pick is None else pick(tokens), attended, "layer_scale1")
        if self.gated:  # 2 / 3 of the hidden units, rounded up to a multiple of 8: about as many parameters as the MLP
            mlp = SwiGLU(-(-8 * width // 24) * 8, self.dtype, name="mlp", **init)
        else:
            mlp = MLP(4 * width, self.dtype, name="mlp", **init)
        tokens = join(tokens, mlp(LayerNorm(dtype=self.dtype, name="norm2")(tokens)), "layer_scale2")
        sow(self, "tokens", "output", lambda: tokens)
        return tokens

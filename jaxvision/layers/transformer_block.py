"""The block of a Vision Transformer, which encoders and the light decoders of masked autoencoders have in common."""

from collections.abc import Callable
from typing import Any

from flax import linen as nn

from jaxvision.layers.attention import SelfAttention
from jaxvision.layers.drop import DropPath
from jaxvision.layers.initializers import truncated_normal
from jaxvision.layers.layer_scale import LayerScale
from jaxvision.layers.mlp import MLP, SwiGLU
from jaxvision.layers.norm import LayerNorm
from jaxvision.layers.shortcut import joined
from jaxvision.layers.sow import show
from jaxvision.typing import Array


class TransformerBlock(nn.Module):
    """Attention and perceptron, each behind a norm and beside a shortcut: tokens [B, N, D] -> [B, N, D].

    ``layer_scale``: the first value of LayerScale, 0 for none. ``gated``: SwiGLU in the place of the perceptron. With ``pick``, which
    chooses n of the tokens, [B, N, D] -> [B, n, D], these alone leave the block: the same numbers, without computing the others.
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
            return joined(tokens + DropPath(self.drop_path_rate)(branch, train=train))

        attended = LayerNorm(dtype=self.dtype, name="norm1")(tokens)
        attended = SelfAttention(self.heads, self.dtype, name="attention", **init)(attended, pick=pick)
        tokens = join(tokens if pick is None else pick(tokens), attended, "layer_scale1")
        if self.gated:  # two thirds of the units in each half, rounded up to a multiple of 8: about as many parameters
            mlp = SwiGLU(-(-8 * width // 24) * 8, self.dtype, name="mlp", **init)
        else:
            mlp = MLP(4 * width, self.dtype, name="mlp", **init)
        tokens = join(tokens, mlp(LayerNorm(dtype=self.dtype, name="norm2")(tokens)), "layer_scale2")
        show(self, "tokens", "output", lambda: tokens)
        return tokens

"""Multi-head attention (Vaswani et al., 2017), of tokens among themselves and of tokens to others.

The weights of each head go to the collection ``attention`` as ``weights`` [B, h, N, M], where a caller of ``apply`` makes it mutable.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from jaxvision import kernels
from jaxvision.layers.initializers import truncated_normal
from jaxvision.layers.linear import Dense
from jaxvision.layers.sow import show
from jaxvision.typing import Array

HIDDEN = -1e9  # added to the score of a token that must not be seen; finite, so that a row that sees nothing is no NaN


def attention_weights(queries: Array, keys: Array, bias: Array | None = None) -> Array:
    """The share [B, h, N, M] of each of M keys [B, M, h, d] in what each of N queries [B, N, h, d] gets, in at least float32."""
    wide = jnp.promote_types(queries.dtype, jnp.float32)
    scores = jnp.einsum("bnhd,bmhd->bhnm", queries, keys, preferred_element_type=wide) / math.sqrt(queries.shape[-1])
    return jax.nn.softmax(scores if bias is None else scores + bias, axis=-1)


def _named(mixed: Array) -> Array:
    """What was mixed, [B, N, h, d], as tokens [B, N, h d]."""
    return checkpoint_name(mixed.reshape(*mixed.shape[:2], -1), "attention")


def mix(module: nn.Module, queries: Array, keys: Array, values: Array, bias: Array | None = None) -> Array:
    """``kernels.attention`` [B, N, h d], whose weights ``module`` shows on request."""
    show(module, "attention", "weights", lambda: attention_weights(queries, keys, bias))
    return _named(kernels.attention(queries, keys, values, bias=bias))


def _joint(heads: int, tokens: Array, count: int) -> Array:
    """Tokens [B, N, count h d] as [B, N, count, h, d]."""
    width = tokens.shape[-1] // count
    if width % heads:
        raise ValueError(f"heads: {heads} do not divide the width {width}")
    return tokens.reshape(*tokens.shape[:2], count, heads, width // heads)


def _heads(heads: int, tokens: Array, count: int = 1) -> tuple[Array, ...]:
    """``count`` arrays [B, N, h, d] of tokens [B, N, count h d]."""
    joint = _joint(heads, tokens, count)
    return tuple(joint[:, :, index] for index in range(count))


def _mix_among(module: nn.Module, joint: Array) -> Array:
    """``kernels.self_attention`` of [B, N, 3, h, d] as [B, N, h d], whose weights ``module`` shows on request."""
    show(module, "attention", "weights", lambda: attention_weights(joint[:, :, 0], joint[:, :, 1]))
    return _named(kernels.self_attention(joint))


class SelfAttention(nn.Module):
    """tokens [B, N, D] -> [B, N, D]; queries, keys and values come from one kernel [D, 3 D], in that order.

    ``bias`` is added to the scores and broadcasts to [B, h, N, N]: ``HIDDEN`` where a token must not see another. With ``pick``, which
    chooses n of the tokens, [B, N, D] -> [B, n, D], what these see of all is computed alone (and a bias broadcasts to [B, h, n, N]).
    """

    heads: int
    dtype: Any = None
    kernel_init: Callable = truncated_normal()

    @nn.compact
    def __call__(self, tokens: Array, bias: Array | None = None, *, pick: Callable | None = None) -> Array:
        width = tokens.shape[-1]
        options = {"dtype": self.dtype, "kernel_init": self.kernel_init, "bias_init": nn.initializers.zeros}
        dense = Dense(3 * width, name="qkv", **options)
        if pick is not None:
            (queries,) = _heads(self.heads, dense(pick(tokens), columns=slice(width)))
            keys, values = _heads(self.heads, dense(tokens, columns=slice(width, None)), 2)
            mixed = mix(self, queries, keys, values, bias)
        elif bias is not None:
            mixed = mix(self, *_heads(self.heads, dense(tokens), 3), bias)
        else:
            mixed = _mix_among(self, _joint(self.heads, dense(tokens), 3))
        return Dense(width, name="project", **options)(mixed)  # [B, N, D]


class CrossAttention(nn.Module):
    """tokens [B, N, D] -> [B, N, D]: what each of them finds in ``memory`` [B, M, E]; keys and values come from one kernel [E, 2 D]."""

    heads: int
    dtype: Any = None
    kernel_init: Callable = truncated_normal()

    @nn.compact
    def __call__(self, tokens: Array, memory: Array, bias: Array | None = None) -> Array:
        width = tokens.shape[-1]
        options = {"dtype": self.dtype, "kernel_init": self.kernel_init, "bias_init": nn.initializers.zeros}
        (queries,) = _heads(self.heads, Dense(width, name="query", **options)(tokens))
        keys, values = _heads(self.heads, Dense(2 * width, name="key_value", **options)(memory), 2)
        return Dense(width, name="project", **options)(mix(self, queries, keys, values, bias))  # [B, N, D]

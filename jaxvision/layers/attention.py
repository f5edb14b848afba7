"""Multi-head attention (Vaswani et al., 2017): self-attention and cross-attention.

If the caller of ``apply`` makes the collection ``attention`` mutable, each layer records its ``weights`` [B, h, N, M] in it.
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
from jaxvision.layers.linen import sow
from jaxvision.typing import Array

MASK_VALUE = -1e9  # added to the scores of masked tokens; finite, so that a row in which all tokens are masked gives no NaN


def attention_weights(queries: Array, keys: Array, bias: Array | None = None) -> Array:
    """softmax(q k^T / sqrt(d) + bias) [B, h, N, M] of queries [B, N, h, d] and keys [B, M, h, d], in at least float32."""
    wide = jnp.promote_types(queries.dtype, jnp.float32)
    scores = jnp.einsum("bnhd,bmhd->bhnm", queries, keys, preferred_element_type=wide) / math.sqrt(queries.shape[-1])
    return jax.nn.softmax(scores if bias is None else scores + bias, axis=-1)


def _merge_heads(values: Array) -> Array:
    """[B, N, h, d] -> [B, N, h d], named "attention" for ``jax.checkpoint`` policies."""
    return checkpoint_name(values.reshape(*values.shape[:2], -1), "attention")


def attend(module: nn.Module, queries: Array, keys: Array, values: Array, bias: Array | None = None) -> Array:
    """``kernels.attention`` as [B, N, h d]; ``module`` records the attention weights on request."""
    sow(module, "attention", "weights", lambda: attention_weights(queries, keys, bias))
    return _merge_heads(kernels.attention(queries, keys, values, bias=bias))


def _split_heads(heads: int, tokens: Array, count: int) -> Array:
    """Tokens [B, N, count h d] -> [B, N, count, h, d]."""
    width = tokens.shape[-1] // count
    if width % heads:
        raise ValueError(f"heads: {heads} does not divide the width {width}")
    return tokens.reshape(*tokens.shape[:2], count, heads, width // heads)


def _unstack_heads(heads: int, tokens: Array, count: int = 1) -> tuple[Array, ...]:
    """Tokens [B, N, count h d] -> ``count`` arrays [B, N, h, d]."""
    stacked = _split_heads(heads, tokens, count)
    return tuple(stacked[:, :, index] for index in range(count))


def _self_attend(module: nn.Module, qkv: Array) -> Array:
    """``kernels.self_attention`` of [B, N, 3, h, d] as [B, N, h d]; ``module`` records the attention weights on request."""
    sow(module, "attention", "weights", lambda: attention_weights(qkv[:, :, 0], qkv[:, :, 1]))
    return _merge_heads(kernels.self_attention(qkv))


class SelfAttention(nn.Module):
    """Multi-head self-attention: softmax(q k^T / sqrt(d) + bias) v for each head, then a dense layer; tokens [B, N, D] -> [B, N, D].

    One kernel [D, 3 D] computes queries, keys and values, in that order. ``bias`` is added to the scores and broadcasts to [B, h, N, N];
    it is ``MASK_VALUE`` where a token must not attend to another. ``pick`` [B, N, D] -> [B, n, D] selects the tokens whose output is
    computed; all tokens are still attended to, and ``bias`` then broadcasts to [B, h, n, N]. Raises ValueError if ``heads`` does not divide
    D. Source: Vaswani et al., "Attention Is All You Need", 2017, section 3.2.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> layer, tokens = jv.layers.SelfAttention(heads=2), jax.numpy.ones((1, 3, 4))
    >>> layer.init_with_output(jax.random.key(0), tokens)[0].shape
    (1, 3, 4)
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
            (queries,) = _unstack_heads(self.heads, dense(pick(tokens), columns=slice(width)))
            keys, values = _unstack_heads(self.heads, dense(tokens, columns=slice(width, None)), 2)
            attended = attend(self, queries, keys, values, bias)
        elif bias is not None:
            attended = attend(self, *_unstack_heads(self.heads, dense(tokens), 3), bias)
        else:
            attended = _self_attend(self, _split_heads(self.heads, dense(tokens), 3))
        return Dense(width, name="project", **options)(attended)  # [B, N, D]


class CrossAttention(nn.Module):
    """Multi-head attention from tokens to a memory: tokens [B, N, D], memory [B, M, E] -> [B, N, D].

    Queries come from the tokens, keys and values from the memory by one kernel [E, 2 D]. ``bias`` broadcasts to [B, h, N, M]. Raises
    ValueError if ``heads`` does not divide D. Source: Vaswani et al., 2017, section 3.2.3.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> layer, tokens, memory = jv.layers.CrossAttention(heads=2), jax.numpy.ones((1, 3, 4)), jax.numpy.ones((1, 5, 6))
    >>> layer.init_with_output(jax.random.key(0), tokens, memory)[0].shape
    (1, 3, 4)
    """

    heads: int
    dtype: Any = None
    kernel_init: Callable = truncated_normal()

    @nn.compact
    def __call__(self, tokens: Array, memory: Array, bias: Array | None = None) -> Array:
        width = tokens.shape[-1]
        options = {"dtype": self.dtype, "kernel_init": self.kernel_init, "bias_init": nn.initializers.zeros}
        (queries,) = _unstack_heads(self.heads, Dense(width, name="query", **options)(tokens))
        keys, values = _unstack_heads(self.heads, Dense(2 * width, name="key_value", **options)(memory), 2)
        return Dense(width, name="project", **options)(attend(self, queries, keys, values, bias))  # [B, N, D]

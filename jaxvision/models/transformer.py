"""The Transformer encoder-decoder for sequences (Vaswani et al., "Attention Is All You Need", 2017).

As in the paper: post-norm, ReLU, sinusoidal positions, dropout after each sublayer and on the sum of embedding and position. Token 0 is
padding, 1 the start, 2 the end (``layers.tokens``). ``mutable=["attention"]`` records the attention weights.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxvision import checks
from jaxvision.layers import (
    END,
    MASK_VALUE,
    MLP,
    PADDING,
    START,
    CrossAttention,
    Dense,
    Dropout,
    LayerNorm,
    SelfAttention,
    check_tokens,
    residual_output,
    shift_right,
    sinusoidal_position,
)
from jaxvision.typing import Array, at_least_float32

_EPSILON = 1e-5
_XAVIER = nn.initializers.xavier_uniform()


def padding_bias(tokens: Array) -> Array:
    """Attention bias [B, 1, 1, N] for tokens [B, N] that masks padding."""
    return jnp.where(tokens == PADDING, MASK_VALUE, 0.0)[:, None, None]


def causal_bias(count: int) -> np.ndarray:
    """Attention bias [1, 1, N, N] that lets a token attend to itself and to earlier tokens."""
    return np.where(np.tri(count, dtype=bool), 0.0, MASK_VALUE).astype(np.float32)[None, None]


class Block(nn.Module):
    """Post-norm residual block of self-attention, cross-attention to ``memory`` (decoder only) and an MLP."""

    heads: int
    hidden: int
    drop_rate: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, tokens: Array, bias: Array, memory: Array | None = None, memory_bias: Array | None = None, *, train: bool) -> Array:
        def join(tokens: Array, branch: Array, name: str) -> Array:
            return LayerNorm(_EPSILON, self.dtype, name=name)(residual_output(tokens + Dropout(self.drop_rate)(branch, train=train)))

        tokens = join(tokens, SelfAttention(self.heads, self.dtype, _XAVIER, name="attention")(tokens, bias), "norm1")
        if memory is not None:
            found = CrossAttention(self.heads, self.dtype, _XAVIER, name="cross_attention")(tokens, memory, memory_bias)
            tokens = join(tokens, found, "norm2")
        mixed = MLP(self.hidden, self.dtype, _XAVIER, activation=jax.nn.relu, name="mlp")(tokens)
        return join(tokens, mixed, "norm2" if memory is None else "norm3")


class Transformer(nn.Module):
    """Embeddings with positions, encoder blocks ``encoder1``..., decoder blocks ``decoder1``..., and a linear head."""

    source_vocabulary: int
    target_vocabulary: int
    width: int = 512
    heads: int = 8
    hidden: int = 2048
    depths: tuple[int, int] = (6, 6)  # of encoder and decoder
    tied: bool = True  # one matrix for both embeddings and the head (section 3.4), which needs one vocabulary
    last_norm: bool = False  # after each stack: not in the paper, but in torch.nn.Transformer
    max_length: int = 64  # of the output of ``translate``
    drop_rate: float = 0.1
    dtype: Any = None

    def setup(self):
        if self.tied and self.source_vocabulary != self.target_vocabulary:
            found = f"{self.source_vocabulary} and {self.target_vocabulary}"
            raise ValueError(f"tied: found vocabularies of {found} tokens, expected the same for both, or tied=False")
        init = nn.initializers.normal(self.width**-0.5)
        self.target_embedding = nn.Embed(self.target_vocabulary, self.width, dtype=self.dtype, embedding_init=init)
        if not self.tied:
            self.source_embedding = nn.Embed(self.source_vocabulary, self.width, dtype=self.dtype, embedding_init=init)
            self.head = Dense(self.target_vocabulary, dtype=self.dtype, kernel_init=_XAVIER, bias_init=nn.initializers.zeros)
        for stack, depth in zip(("encoder", "decoder"), self.depths, strict=True):
            for index in range(depth):
                setattr(self, f"{stack}{index + 1}", Block(self.heads, self.hidden, self.drop_rate, self.dtype))
            if self.last_norm:
                setattr(self, f"{stack}_norm", LayerNorm(_EPSILON, self.dtype))
        self.dropout = Dropout(self.drop_rate)

    def _embed(self, embedding: nn.Embed, tokens: Array, *, train: bool) -> Array:
        """Embedding times sqrt(D) plus position, [B, N, D]; the factor balances the two (section 3.4)."""
        found = embedding(tokens) * self.width**0.5
        return self.dropout(found + sinusoidal_position(tokens.shape[1], self.width).astype(found.dtype), train=train)

    def _stack(self, name: str, depth: int, tokens: Array, *context: Array, train: bool) -> Array:
        for index in range(depth):
            tokens = getattr(self, f"{name}{index + 1}")(tokens, *context, train=train)
        return getattr(self, f"{name}_norm")(tokens) if self.last_norm else tokens

    def encode(self, source: Array, *, train: bool = False) -> Array:
        """Encode source tokens [B, N] as the memory [B, N, D] of the decoder."""
        check_tokens("Transformer", source=(source, self.source_vocabulary))
        embedding = self.target_embedding if self.tied else self.source_embedding
        return self._stack("encoder", self.depths[0], self._embed(embedding, source, train=train), padding_bias(source), train=train)

    def decode(self, written: Array, memory: Array, source: Array, *, train: bool = False) -> Array:
        """Logits [B, M, K] float32 of the token after each of ``written`` [B, M]; ``source`` [B, N] marks the padding of the memory."""
        check_tokens("Transformer", written=(written, self.target_vocabulary), source=(source, self.source_vocabulary))
        bias = padding_bias(written) + causal_bias(written.shape[1])  # [B, 1, M, M]
        tokens = self._embed(self.target_embedding, written, train=train)
        tokens = self._stack("decoder", self.depths[1], tokens, bias, memory, padding_bias(source), train=train)
        logits = self.target_embedding.attend(tokens) if self.tied else self.head(tokens)
        return at_least_float32(logits)

    def __call__(self, source: Array, target: Array, *, train: bool = False) -> Array:
        """Logits [B, M, K] of each token of ``target`` [B, M], given ``source`` [B, N] and the target tokens before it."""
        check_tokens("Transformer", source=(source, self.source_vocabulary), target=(target, self.target_vocabulary))
        return self.decode(shift_right(target), self.encode(source, train=train), source, train=train)

    def translate(self, source: Array) -> Array:
        """Greedy decoding: the most likely token at each step, [B, max_length], with padding after the end token; one compiled loop.

        The loop stops when every row has its end token. Each step decodes the whole row again, without a cache.
        """
        memory = self.encode(source)
        rows = jnp.zeros((len(source), self.max_length + 1), source.dtype).at[:, 0].set(START)

        def unfinished(_: nn.Module, carry: tuple) -> Array:
            place, _, ended = carry
            return (place < self.max_length) & ~jnp.all(ended)

        def write(model: nn.Module, carry: tuple) -> tuple:
            place, rows, ended = carry
            logits = model.decode(rows[:, :-1], memory, source)[:, place]  # [B, K]
            token = jnp.where(ended, PADDING, jnp.argmax(logits, axis=-1)).astype(rows.dtype)
            return place + 1, rows.at[:, place + 1].set(token), ended | (token == END)

        if self.is_initializing():  # a lifted loop cannot create parameters
            write(self, (0, rows, rows[:, 0] < 0))
        carry = (jnp.int32(0), rows, jnp.zeros(len(source), bool))
        return nn.while_loop(unfinished, write, self, carry, broadcast_variables="params")[1][:, 1:]


class Size(NamedTuple):
    """Width, heads, hidden units of the perceptrons, drop rate (the paper's table 3; six layers on each side)."""

    width: int
    heads: int
    hidden: int
    drop_rate: float


SIZES = {"base": Size(512, 8, 2048, 0.1), "big": Size(1024, 16, 4096, 0.3)}


def build(name: str, *, source_vocabulary: int, target_vocabulary: int | None = None, **options: Any) -> Transformer:
    """Create a row of ``SIZES``, "base" or "big", for the sizes of the vocabularies; ``options`` are fields of ``Transformer``.

    Without ``target_vocabulary`` both sides share one vocabulary and, unless ``tied=False``, one embedding. Raises ValueError for another
    name.
    """
    checks.one_of("name", name, SIZES)
    target = source_vocabulary if target_vocabulary is None else target_vocabulary
    return Transformer(source_vocabulary, target, **{**SIZES[name]._asdict(), "tied": target_vocabulary is None, **options})

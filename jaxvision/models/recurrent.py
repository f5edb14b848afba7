"""The recurrent encoder-decoder for sequences, with a fixed context or with attention.

"fixed": the decoder's context is the encoder's last state (Cho et al., 2014; Sutskever et al., 2014). "attended": at each step it is a
weighted sum of all encoder states (Bahdanau et al., "Neural Machine Translation by Jointly Learning to Align and Translate", 2015). Token 0
is padding, 1 the start, 2 the end (``layers.tokens``). ``mutable=["attention"]`` records the attention weights.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision import checks
from jaxvision.layers import MASK_VALUE, PADDING, START, Dense, Dropout, check_tokens, pad_after_end, shift_right, sow
from jaxvision.typing import Array, at_least_float32

CELLS = {"gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}


def output_of(cell: str, state: Any) -> Array:
    """The output [B, D] of a cell in a state: the state of a GRU, h of an LSTM's (c, h)."""
    return state if cell == "gru" else state[1]


class Alignment(nn.Module):
    """Additive attention weights [B, N] of a decoder in ``state`` [B, D] over the encoder states (Bahdanau et al., 2015, section A.1.2)."""

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, state: Array, keys: Array, bias: Array) -> Array:
        query = Dense(self.width, dtype=self.dtype, name="query")(state)[:, None]  # [B, 1, D]
        scores = Dense(1, use_bias=False, dtype=self.dtype, name="score")(jnp.tanh(query + keys))[..., 0]  # [B, N]
        return jax.nn.softmax(at_least_float32(scores) + bias, axis=-1)


class Step(nn.Module):
    """One decoding step: (state, embedding [B, D]) -> (state, (hidden [B, D + E + D], weights [B, N]))."""

    width: int
    cell: str
    attended: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, state: Any, embedded: Array, memory: Array, keys: Array, bias: Array, fixed: Array) -> tuple:
        if self.attended:
            weights = Alignment(self.width, self.dtype, name="alignment")(output_of(self.cell, state), keys, bias)
            context = jnp.einsum("bn,bnd->bd", weights.astype(memory.dtype), memory)
        else:
            weights, context = jnp.zeros(memory.shape[:2]), fixed
        state, hidden = CELLS[self.cell](self.width, dtype=self.dtype, name="cell")(state, jnp.concatenate([embedded, context], axis=-1))
        return state, (jnp.concatenate([hidden, context, embedded], axis=-1), weights)


class Recurrent(nn.Module):
    """A bidirectional encoder and a decoder of ``width`` units, GRU or LSTM, between embeddings and a linear head."""

    source_vocabulary: int
    target_vocabulary: int
    width: int = 256
    cell: str = "gru"
    context: str = "attended"  # or "fixed"
    max_length: int = 64  # of the output of ``translate``
    drop_rate: float = 0.0  # on embeddings and before the head
    dtype: Any = None

    def setup(self):
        checks.one_of("cell", self.cell, CELLS)
        checks.one_of("context", self.context, ("fixed", "attended"))
        self.source_embedding = nn.Embed(self.source_vocabulary, self.width, dtype=self.dtype)
        self.target_embedding = nn.Embed(self.target_vocabulary, self.width, dtype=self.dtype)
        self.forward, self.backward = (nn.RNN(CELLS[self.cell](self.width, dtype=self.dtype)) for _ in range(2))
        self.bridge = Dense(self.width, dtype=self.dtype)  # from the encoder's last states to the decoder's first
        if self.context == "attended":
            self.keys = Dense(self.width, dtype=self.dtype)
        self.step = Step(self.width, self.cell, self.context == "attended", self.dtype)
        self.dropout = Dropout(self.drop_rate)
        self.head = Dense(self.target_vocabulary, dtype=self.dtype)

    def encode(self, source: Array, *, train: bool = False) -> tuple:
        """Encode source tokens [B, N]: the decoder's first state, and (memory [B, N, 2 D], keys, bias, last states [B, 2 D])."""
        check_tokens("Recurrent", source=(source, self.source_vocabulary))
        lengths = jnp.sum(source != PADDING, axis=1)
        embedded = self.dropout(self.source_embedding(source), train=train)
        options = {"seq_lengths": lengths, "return_carry": True}
        ahead, states = self.forward(embedded, **options)
        behind, back_states = self.backward(embedded, reverse=True, keep_order=True, **options)
        fixed = jnp.concatenate([output_of(self.cell, ahead), output_of(self.cell, behind)], axis=-1)  # [B, 2 D]
        memory = jnp.concatenate([states, back_states], axis=-1)  # [B, N, 2 D]
        bias = jnp.where(source == PADDING, MASK_VALUE, 0.0)
        memory = jnp.where((source == PADDING)[..., None], 0, memory)
        first = jnp.tanh(self.bridge(fixed))
        state = first if self.cell == "gru" else (jnp.zeros_like(first), first)
        return state, (memory, self.keys(memory) if self.context == "attended" else memory, bias, fixed)

    def _logits(self, hidden: Array, *, train: bool = False) -> Array:
        logits = self.head(self.dropout(hidden, train=train))
        return at_least_float32(logits)

    def __call__(self, source: Array, target: Array, *, train: bool = False) -> Array:
        """Logits [B, M, K] of each token of ``target`` [B, M], given ``source`` [B, N] and the target tokens before it."""
        check_tokens("Recurrent", source=(source, self.source_vocabulary), target=(target, self.target_vocabulary))
        state, encoded = self.encode(source, train=train)
        embedded = self.dropout(self.target_embedding(shift_right(target)), train=train)  # [B, M, D]
        scan = nn.scan(
            lambda step, state, row: step(state, row, *encoded),
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
        )
        _, (hidden, weights) = scan(self.step, state, embedded)
        if self.context == "attended":
            sow(self, "attention", "weights", lambda: weights)  # [B, M, N]
        return self._logits(hidden, train=train)

    def translate(self, source: Array) -> Array:
        """Greedy decoding: the most likely token at each step, [B, max_length], with padding after the end token; one compiled loop."""
        state, encoded = self.encode(source)

        def write(model: nn.Module, carry: tuple, _: Array) -> tuple:
            state, token = carry
            state, (hidden, _) = model.step(state, model.target_embedding(token), *encoded)
            token = jnp.argmax(model._logits(hidden), axis=-1).astype(source.dtype)
            return (state, token), token

        start = jnp.full(len(source), START, source.dtype)
        scan = nn.scan(write, variable_broadcast="params", split_rngs={"params": False}, out_axes=1)
        _, tokens = scan(self, (state, start), jnp.arange(self.max_length))
        return pad_after_end(tokens)

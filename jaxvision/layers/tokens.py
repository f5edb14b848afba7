"""Rows of token numbers [B, N]: what the first numbers mean, and how a decoder is taught from the right answer."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.typing import Array

PADDING, START, END = 0, 1, 2  # of any vocabulary; what is written begins at 3


def check_tokens(model: str, **rows: tuple[Array, int]) -> None:
    """Refuse, in the name of ``model``, what is not a batch of token numbers; each row comes with the size of its vocabulary.

    Raises ValueError for a wrong rank, rows of several batch sizes and, outside jit, numbers that are no token (under jit they cannot be
    seen, and make NaN); TypeError for floats.
    """
    for name, (row, vocabulary) in rows.items():
        if row.ndim != 2:
            raise ValueError(f"{name}: found shape {row.shape}, {model} expects token numbers [B, N]")
        if not jnp.issubdtype(row.dtype, jnp.integer):
            raise TypeError(f"{name}: found dtype {row.dtype}, {model} expects integers")
        if not isinstance(row, jax.core.Tracer) and row.size:
            numbers = np.asarray(row)  # while something else is traced, row.min() would be traced too
            first, last = int(numbers.min()), int(numbers.max())
            if first < 0 or last >= vocabulary:
                raise ValueError(f"{name}: found tokens from {first} to {last}, this {model} expects 0 to {vocabulary - 1}")
    counts = [len(row) for row, _ in rows.values()]
    if len(set(counts)) > 1:
        raise ValueError(f"{' and '.join(rows)}: found {' and '.join(map(str, counts))} rows, {model} expects as many of each")


def shift_right(target: Array) -> Array:
    """What a decoder reads to be asked for ``target`` [B, M]: the start, then all but the last (teacher forcing)."""
    return jnp.concatenate([jnp.full_like(target[:, :1], START), target[:, :-1]], axis=1)  # [B, M]


def end_after(tokens: Array) -> Array:
    """Tokens [B, M] with padding behind the first end of each row."""
    ended = jnp.cumsum(tokens == END, axis=1)
    return jnp.where(ended - (tokens == END) > 0, PADDING, tokens)

"""Token sequences [B, N]: the special tokens, the check of a batch, and teacher forcing."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.typing import Array

PADDING, START, END = 0, 1, 2  # the special tokens of every vocabulary; words begin at 3


def check_tokens(model: str, **rows: tuple[Array, int]) -> None:
    """Check that each keyword argument (tokens [B, N], vocabulary size) is a batch of tokens that the network named ``model`` can take.

    Raises ValueError for a wrong rank, different batch sizes and, outside ``jit``, tokens outside the vocabulary (under ``jit`` their
    values are unknown; their embedding is NaN); TypeError for a floating-point array.

    >>> import jaxvision as jv
    >>> import jax.numpy as jnp
    >>> jv.layers.check_tokens("Transformer", source=(jnp.array([[3, 4, 2]]), 5))
    """
    for name, (row, vocabulary) in rows.items():
        if row.ndim != 2:
            raise ValueError(f"{name}: found shape {row.shape}, {model} expects token numbers [B, N]")
        if not jnp.issubdtype(row.dtype, jnp.integer):
            raise TypeError(f"{name}: found dtype {row.dtype}, {model} expects integers")
        if not isinstance(row, jax.core.Tracer) and row.size:
            numbers = np.asarray(row)  # row.min() would be traced if another array is traced
            first, last = int(numbers.min()), int(numbers.max())
            if first < 0 or last >= vocabulary:
                raise ValueError(f"{name}: found tokens from {first} to {last}, this {model} expects 0 to {vocabulary - 1}")
    counts = [len(row) for row, _ in rows.values()]
    if len(set(counts)) > 1:
        raise ValueError(f"{' and '.join(rows)}: found {' and '.join(map(str, counts))} rows, {model} expects the same number of each")


def shift_right(target: Array) -> Array:
    """Decoder input for teacher forcing: the start token, then ``target`` [B, M] without its last token; [B, M].

    >>> import jaxvision as jv
    >>> import jax.numpy as jnp
    >>> jv.layers.shift_right(jnp.array([[7, 8, 2]])).tolist()
    [[1, 7, 8]]
    """
    return jnp.concatenate([jnp.full_like(target[:, :1], START), target[:, :-1]], axis=1)  # [B, M]


def pad_after_end(tokens: Array) -> Array:
    """Replace every token after the first end token of its row with padding: tokens [B, M] -> [B, M].

    >>> import jaxvision as jv
    >>> import jax.numpy as jnp
    >>> jv.layers.pad_after_end(jnp.array([[7, 2, 8, 2]])).tolist()
    [[7, 2, 0, 0]]
    """
    ended = jnp.cumsum(tokens == END, axis=1)
    return jnp.where(ended - (tokens == END) > 0, PADDING, tokens)

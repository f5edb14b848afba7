"""The log-sum-exp of every row of a similarity matrix, as contrastive losses need it, without the whole matrix in memory."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxvision.typing import Array, Float, Int

CHUNK = 512  # keys at a time by default


def plain_log_sum_exp_of_others(
    queries: Float[Array, "M D"], keys: Float[Array, "N D"], own: Int[Array, "M"], *, groups: Int[Array, "N"] | None = None
) -> Float[Array, "M"]:
    """The reference implementation of ``log_sum_exp_of_others``, with the whole matrix [M, N] in memory.

    The two differ only for a query without any other key, where this one gives minus infinity.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.plain_log_sum_exp_of_others(jnp.zeros((2, 3)), jnp.zeros((2, 3)), jnp.arange(2)).tolist()
    [0.0, 0.0]
    """
    scores = jnp.dot(queries, keys.T, precision=jax.lax.Precision.HIGHEST)
    groups = jnp.arange(len(keys)) if groups is None else groups
    return jax.nn.logsumexp(jnp.where(groups == own[:, None], -jnp.inf, scores), axis=-1)


def in_blocks(rows: Array, chunk: int) -> tuple[Array, Array]:
    """Rows [N, ...] as equal blocks [n, width, ...], width <= ``chunk``, the last filled with zeros; and the row numbers [n, width]."""
    count = len(rows)
    blocks = -(-count // chunk)
    width = -(-count // blocks)
    padded = jnp.pad(rows, [(0, blocks * width - count)] + [(0, 0)] * (rows.ndim - 1))
    return padded.reshape(blocks, width, *rows.shape[1:]), jnp.arange(blocks * width, dtype=jnp.int32).reshape(blocks, width)


def _scores(queries: Array, block: Array, column: Array, groups: Array, own: Array, count: int) -> Array:
    """Products of all queries with one block of keys [M, width]; minus infinity at the query's own group and beyond the last key."""
    scores = jnp.dot(queries, block.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.where((groups == own[:, None]) | (column >= count), -jnp.inf, scores)


def _blocks(keys: Array, groups: Array, chunk: int) -> tuple[Array, Array, Array]:
    """Keys [n, width, D], their numbers and their groups [n, width]."""
    return (*in_blocks(keys, chunk), in_blocks(groups, chunk)[0])


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _of_others(queries: Array, keys: Array, own: Array, groups: Array, chunk: int) -> Array:
    def add(carry, block):
        top, total = carry
        scores = _scores(queries, *block, own, len(keys))
        higher = jnp.maximum(top, jnp.max(scores, axis=-1))
        return (higher, total * jnp.exp(top - higher) + jnp.sum(jnp.exp(scores - higher[:, None]), axis=-1)), None

    # starting from the lowest finite number, and with a smallest total, a row without any other key stays finite and has no gradient
    lowest = jnp.full(len(queries), jnp.finfo(queries.dtype).min, queries.dtype)
    (top, total), _ = jax.lax.scan(add, (lowest, jnp.zeros_like(lowest)), _blocks(keys, groups, chunk))
    return top + jnp.log(jnp.maximum(total, jnp.finfo(queries.dtype).tiny))


def _forward(queries: Array, keys: Array, own: Array, groups: Array, chunk: int) -> tuple[Array, tuple]:
    result = _of_others(queries, keys, own, groups, chunk)
    return result, (queries, keys, own, groups, result)


def _backward(chunk: int, kept: tuple, cotangent: Array) -> tuple[Array, Array, None, None]:
    queries, keys, own, groups, result = kept

    def add(gradient, block):
        weights = jnp.exp(_scores(queries, *block, own, len(keys)) - result[:, None]) * cotangent[:, None]
        to_keys = jnp.dot(weights.T, queries, precision=jax.lax.Precision.HIGHEST)
        return gradient + jnp.dot(weights, block[0], precision=jax.lax.Precision.HIGHEST), to_keys

    to_queries, to_keys = jax.lax.scan(add, jnp.zeros_like(queries), _blocks(keys, groups, chunk))
    return to_queries, to_keys.reshape(-1, keys.shape[1])[: len(keys)], None, None


_of_others.defvjp(_forward, _backward)


def log_sum_exp_of_others(
    queries: Float[Array, "M D"],
    keys: Float[Array, "N D"],
    own: Int[Array, "M"],
    *,
    groups: Int[Array, "N"] | None = None,
    chunk: int | None = None,
) -> Float[Array, "M"]:
    """log sum over all j with groups_j != own_i of exp(queries_i . keys_j), for every i.

    Each query ignores the keys of the group ``own``. Without ``groups`` key j is its own group j.

    Exact, with O(M chunk + N D) memory: it computes ``chunk`` keys at a time (512 by default), and again for the gradient. A query without
    any other key gives the lowest finite number and has no gradient. Reverse-mode differentiation works, repeatedly too; forward mode
    (jax.jvp, jax.jacfwd, jax.hessian) does not: use ``plain_log_sum_exp_of_others`` there. Raises ValueError where the shapes do not fit or
    ``chunk`` is below 1.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.log_sum_exp_of_others(jnp.zeros((2, 3)), jnp.zeros((2, 3)), jnp.arange(2)).tolist()
    [0.0, 0.0]
    """
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape[1] != keys.shape[1] or own.shape != queries.shape[:1]:
        raise ValueError(f"queries, keys, own: found shapes {queries.shape}, {keys.shape} and {own.shape}, expected [M, D], [N, D] and [M]")
    chunk = CHUNK if chunk is None else chunk
    if chunk < 1:
        raise ValueError(f"chunk: found {chunk}, expected at least 1 key at a time")
    groups = jnp.arange(len(keys), dtype=jnp.int32) if groups is None else groups
    if groups.shape != keys.shape[:1]:
        raise ValueError(f"groups: found shape {groups.shape}, expected one group for each of the {len(keys)} keys")
    return _of_others(queries, keys, own, groups, chunk)

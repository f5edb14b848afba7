"""The mapped axis "data": the only file that asks whether the batch is split over devices in the current trace.

Under ``jit`` arrays are global and every function here is the identity of its meaning. Under ``shard_map`` and ``pmap`` the axis "data"
is bound and the functions communicate. Whatever must see the whole batch (negatives, centres, batch statistics, gradients,
metrics) calls these.
"""

import jax
import jax.numpy as jnp

from jaxvision.typing import Array, Key

NAME = "data"


def size() -> int:
    """The number of shards the batch is split into; 1 where the axis is not bound."""
    try:
        return jax.lax.axis_size(NAME)
    except NameError:
        return 1


def mean(tree):
    """The mean over shards of every leaf."""
    return jax.lax.pmean(tree, NAME) if size() > 1 else tree


def sum(tree):
    """The sum over shards of every leaf."""
    return jax.lax.psum(tree, NAME) if size() > 1 else tree


def gather(array: Array) -> Array:
    """The global batch: [b, ...] on each shard becomes [B, ...] in global order; gradients flow back to their shard."""
    return jax.lax.all_gather(array, NAME, tiled=True) if size() > 1 else array


def position(count: int) -> Array:
    """Global positions of this shard's ``count`` rows, [count] int32: what per-example randomness folds in."""
    first = jax.lax.axis_index(NAME) * count if size() > 1 else 0
    return first + jnp.arange(count, dtype=jnp.int32)


def example_keys(key: Key, count: int) -> Array:
    """A key for each of this shard's ``count`` examples, folded with its global position: the same draws on any number of devices."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, position(count))


def previous(array: Array) -> Array:
    """Row i becomes global row i - 1 (the first becomes the last): each example's neighbour, wherever it lives."""
    if size() == 1:
        return jnp.roll(array, 1, axis=0)
    last = jax.lax.ppermute(array[-1:], NAME, [(shard, (shard + 1) % size()) for shard in range(size())])
    return jnp.concatenate([last, array[:-1]])

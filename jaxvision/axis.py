"""Collectives over the mapped axis "data". This is the only file that asks whether that axis is bound in the current trace.

Under ``shard_map`` and ``pmap`` the axis is bound and every shard holds a part of the batch: these functions communicate. Under ``jit``
arrays are global, the axis is not bound, and the functions return what they are given. What needs the whole batch (negatives, centres,
batch statistics, gradients, metrics) calls them. There is no flag to set.
"""

import jax
import jax.numpy as jnp

from jaxvision.typing import Array, Key

NAME = "data"


def size() -> int:
    """The number of shards of the batch; 1 where the axis is not bound.

    >>> from jaxvision import axis
    >>> axis.size()
    1
    """
    try:
        return jax.lax.axis_size(NAME)
    except NameError:
        return 1


def mean(tree):
    """The mean over the shards, leaf by leaf.

    >>> import jax, jax.numpy as jnp
    >>> from jaxvision import axis
    >>> jax.vmap(axis.mean, axis_name="data")(jnp.array([1.0, 3.0])).tolist()
    [2.0, 2.0]
    """
    return jax.lax.pmean(tree, NAME) if size() > 1 else tree


def sum(tree):
    """The sum over the shards, leaf by leaf."""
    return jax.lax.psum(tree, NAME) if size() > 1 else tree


def gather(array: Array) -> Array:
    """The global batch: [b, ...] of each shard becomes [B, ...] in global order. Gradients flow back to the shard of each row.

    >>> import jax, jax.numpy as jnp
    >>> from jaxvision import axis
    >>> jax.vmap(axis.gather, axis_name="data")(jnp.array([[1], [3]])).tolist()  # two shards of one row
    [[1, 3], [1, 3]]
    """
    return jax.lax.all_gather(array, NAME, tiled=True) if size() > 1 else array


def position(count: int) -> Array:
    """Positions in the global batch of this shard's ``count`` rows, [count] int32."""
    first = jax.lax.axis_index(NAME) * count if size() > 1 else 0
    return first + jnp.arange(count, dtype=jnp.int32)


def example_keys(key: Key, count: int) -> Array:
    """A key for each of this shard's ``count`` examples, derived from its global position: the same on any number of devices."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, position(count))


def previous(array: Array) -> Array:
    """Each row is replaced by the row before it in the global batch; the first by the last. Only one row crosses a shard border."""
    if size() == 1:
        return jnp.roll(array, 1, axis=0)
    last = jax.lax.ppermute(array[-1:], NAME, [(shard, (shard + 1) % size()) for shard in range(size())])
    return jnp.concatenate([last, array[:-1]])

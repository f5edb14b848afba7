"""The learning rate in an optimizer's state: how it is recorded, how a run reads it, and what it is over a whole run."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxvision.train.schedules import Rate
from jaxvision.typing import Array

_SAMPLED_UPDATES = 512  # of a run, to find the peak learning rate


class RecordedRate(NamedTuple):
    """The state of ``scale_by_recorded_rate``: updates so far and the rate of the last one."""

    count: Array
    learning_rate: Array


def scale_by_recorded_rate(learning_rate: Rate) -> optax.GradientTransformation:
    """Multiply updates by minus the learning rate, and record the rate in the state for ``learning_rate_of``."""

    def rate(count: Array) -> Array:
        return jnp.asarray(learning_rate(count) if callable(learning_rate) else learning_rate, jnp.float32)

    def init(params) -> RecordedRate:
        return RecordedRate(jnp.zeros((), jnp.int32), rate(jnp.zeros((), jnp.int32)))

    def update(updates, state: RecordedRate, params=None):
        now = rate(state.count)
        updates = jax.tree.map(lambda leaf: (-now * leaf).astype(leaf.dtype), updates)
        return updates, RecordedRate(optax.safe_increment(state.count), now)

    return optax.GradientTransformation(init, update)


def learning_rate_of(opt_state: Any) -> Array | None:
    """The learning rate recorded in an optimizer state (by this library or ``optax.inject_hyperparams``), or None."""
    found = optax.tree_utils.tree_get_all_with_path(opt_state, "learning_rate")
    return found[0][1] if found else None


def _surrogate(params):
    """A tree of the same structure and ranks with one element in each leaf, to run an optimizer on cheaply."""
    return jax.tree.map(lambda leaf: jnp.ones((1,) * jnp.ndim(leaf), jnp.float32), params)


def never_updates(optimizer: optax.GradientTransformation, params: Any, steps: int) -> bool:
    """Whether ``steps`` updates would change no parameter: the rate is always 0, everything is frozen, or the accumulation is too long.

    Runs the optimizer on leaves of one element with gradients of one, up to the first update that is not zero.
    """
    small = _surrogate(params)

    def idle(loop):
        count, moved, _ = loop
        return (count < steps) & ~moved

    def update(loop):
        count, _, opt_state = loop
        updates, opt_state = optimizer.update(small, opt_state, small)
        moved = jnp.any(jnp.stack([jnp.any(leaf != 0) for leaf in jax.tree.leaves(updates)]))
        return count + 1, moved, opt_state

    _, moved, _ = jax.jit(lambda: jax.lax.while_loop(idle, update, (0, jnp.bool_(False), optimizer.init(small))))()
    return not bool(moved)


def peak_learning_rate(optimizer: optax.GradientTransformation, params: Any, steps: int) -> float | None:
    """The largest learning rate in a run of ``steps`` updates, sampled at 512 of them; None where the optimizer does not record it.

    It is None for ``optax.MultiSteps`` too, whose update count is not that of the run.
    """
    small = _surrogate(params)
    start = optimizer.init(small)
    if learning_rate_of(start) is None or optax.tree_utils.tree_get_all_with_path(start, "mini_step"):
        return None

    def rate(count):
        at_count = jax.tree_util.tree_map_with_path(
            lambda path, leaf: count if jax.tree_util.keystr(path[-1:], simple=True) == "count" else leaf, start
        )
        _, opt_state = optimizer.update(small, at_count, small)
        return learning_rate_of(opt_state)

    counts = jnp.unique(jnp.linspace(0, max(steps - 1, 0), _SAMPLED_UPDATES).astype(jnp.int32))
    return float(jnp.max(jax.jit(jax.vmap(rate))(counts)))

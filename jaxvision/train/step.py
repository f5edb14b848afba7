"""One training step as a pure function: draw, augment, differentiate, move, remember. No jit, no device, no method in here."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxvision import axis
from jaxvision.core import Objective, fold_name
from jaxvision.train.fused import averaged, moved, where
from jaxvision.train.optimizers import learning_rate_of
from jaxvision.train.remat import rematerialized
from jaxvision.typing import Array, Batch, Key, to_float


class _Draws(NamedTuple):
    init: Key
    augment: Key
    loss: Key


def draws(key: Key, batch: Batch, step: Array) -> _Draws:
    """The keys of a step. Augmentation folds in each example's own epoch and index; only where a batch lacks them, the step."""
    augment = fold_name(key, "augment")
    if not ("index" in batch and "epoch" in batch):
        augment = jax.random.fold_in(augment, step)
    return _Draws(fold_name(key, "init"), augment, jax.random.fold_in(fold_name(key, "loss"), step))


def augmented(key: Key, batch: Batch, augment: Callable | None) -> Batch:
    """The batch as the objective reads it: ``image`` float [B, H, W, C], and whatever ``augment`` adds."""
    batch = augment(key, batch) if augment else batch
    return batch | ({"image": to_float(batch["image"])} if "image" in batch else {})


def _micro_batches(batch: Batch, count: int) -> Batch:
    """Every leaf [B, ...] as [count, B / count, ...]; example i joins micro-batch i % count, so that shards agree on who is where."""

    def deal(rows: Array) -> Array:
        if rows.shape[0] % count:
            raise ValueError(f"accumulate: {count} does not divide the batch of {rows.shape[0]} examples on a device")
        return jnp.moveaxis(rows.reshape(rows.shape[0] // count, count, *rows.shape[1:]), 1, 0)  # [count, B / count, ...]

    return jax.tree.map(deal, batch)


def _gradients(loss: Callable, state, batch: Batch, key: Key, count: int):
    """The mean gradient of an objective's loss, carry and metrics over ``count`` micro-batches, on this shard."""
    differentiate = jax.value_and_grad(loss, has_aux=True)

    def micro_step(carry, inputs):
        index, micro = inputs
        (value, aux), grads = differentiate(state.params, carry, micro, key=jax.random.fold_in(key, index), step=state.step)
        return aux.carry, (grads, aux.metrics | {"loss": value})

    if count == 1:
        carry, (grads, metrics) = micro_step(state.carry, (0, batch))
        return carry, grads, metrics

    def accumulate(collected, inputs):
        carry, total = collected
        carry, fresh = micro_step(carry, inputs)
        return (carry, jax.tree.map(jnp.add, total, fresh)), None

    micro_batches = _micro_batches(batch, count)
    first = jax.tree.map(lambda rows: rows[0], micro_batches)
    zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(lambda: micro_step(state.carry, (0, first))[1]))
    (carry, total), _ = jax.lax.scan(accumulate, (state.carry, zeros), (jnp.arange(count), micro_batches))
    grads, metrics = jax.tree.map(lambda leaf: leaf / count, total)
    return carry, grads, metrics


def make_step(
    objective: Objective,
    optimizer,
    *,
    augment: Callable | None = None,
    accumulate: int = 1,
    ema: float | Callable | None = None,
    remat: tuple[str, ...] | None = None,
) -> Callable:
    """The pure step ``(state, batch, key) -> (state, metrics)`` of any objective.

    ``batch``: a dict of arrays, the whole batch, or a device's shard where the axis "data" is bound. ``key``: the run's root key, the
    same at every step. ``augment``: ``(key, batch) -> batch``. ``accumulate``: the number of micro-batches a step adds up before its one
    update (batch statistics and contrastive negatives are then the micro-batch's). ``ema``: the decay of a weight average, a number or
    a schedule of step. ``remat``: the names of the values that are kept in memory for the gradients, while everything else is computed
    again (``rematerialized``); by default all are kept.

    A step whose loss or gradient is not finite changes no parameter, carry, optimizer state or average; it is counted in
    ``state.skipped``. Metrics: the objective's, ``loss``, ``gradient_norm``, ``skipped`` (so far), ``skipped_in_row`` and, where the
    optimizer shows it, ``learning_rate``. Raises ValueError when ``accumulate`` does not divide the (local) batch.
    """
    if accumulate < 1:
        raise ValueError(f"accumulate: found {accumulate}, expected at least 1")
    loss = objective.loss if remat is None else rematerialized(objective.loss, remat)

    def step(state, batch: Batch, key: Key):
        keys = draws(key, batch, state.step)
        views = augmented(keys.augment, batch, augment)
        carry, grads, metrics = _gradients(loss, state, views, keys.loss, accumulate)
        grads, metrics = axis.mean((grads, metrics))
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(norm)

        decay = 0.0 if ema is None else ema(state.step) if callable(ema) else ema
        old = {} if ema is None else state.ema["params"]
        params, opt_state, new = moved(optimizer, grads, state.opt_state, state.params, finite=finite, average=old, decay=decay)
        carry = objective.after(params, carry, state.step)
        average = state.ema
        if ema is not None:
            stats = where(finite, averaged(state.ema["stats"], carry.stats, decay), state.ema["stats"])
            average = {"params": new, "stats": stats}
        carry = where(finite, carry, state.carry)
        seen = {name: metrics[name] for name in state.sums if name != "updates"} | {"updates": jnp.float32(1)}
        sums = {name: total + jnp.where(finite, seen[name].astype(jnp.float32), 0) for name, total in state.sums.items()}
        in_row = jnp.where(finite, 0, state.skipped[1] + 1)
        skipped = jnp.stack([state.skipped[0] + (1 - finite.astype(jnp.int32)), in_row])
        metrics |= {"gradient_norm": norm, "skipped": skipped[0], "skipped_in_row": in_row}
        if (rate := learning_rate_of(opt_state)) is not None:
            metrics["learning_rate"] = rate
        state = state._replace(
            step=state.step + 1, params=params, carry=carry, opt_state=opt_state, ema=average, sums=sums, skipped=skipped
        )
        return state, metrics

    return step

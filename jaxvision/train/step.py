"""One training step as a pure function: draw keys, augment, differentiate, update. It does not depend on jit, devices or the objective."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxvision import axis, checks
from jaxvision.core import Objective, fold_name
from jaxvision.train.fused import averaged, moved, where
from jaxvision.train.recorded_rate import learning_rate_of
from jaxvision.train.remat import rematerialized
from jaxvision.typing import Array, Batch, Key, to_float


class _Draws(NamedTuple):
    init: Key
    augment: Key
    loss: Key


def draws(key: Key, batch: Batch, step: Array) -> _Draws:
    """The keys of a step. Augmentation folds in each example's epoch and index, or the step where the batch lacks these fields."""
    augment = fold_name(key, "augment")
    if not ("index" in batch and "epoch" in batch):
        augment = jax.random.fold_in(augment, step)
    return _Draws(fold_name(key, "init"), augment, jax.random.fold_in(fold_name(key, "loss"), step))


def augmented(key: Key, batch: Batch, augment: Callable | None) -> Batch:
    """The batch that the objective reads: ``image`` float [B, H, W, C], and the fields that ``augment`` adds."""
    batch = augment(key, batch) if augment else batch
    return batch | ({"image": to_float(batch["image"])} if "image" in batch else {})


def _micro_batches(batch: Batch, count: int) -> Batch:
    """Every leaf [B, ...] as [count, B / count, ...]. Example i is in micro-batch i % count, for any sharding of the batch."""

    def split(rows: Array) -> Array:
        if rows.shape[0] % count:
            raise ValueError(f"accumulate: {count} does not divide the batch of {rows.shape[0]} examples on a device")
        return jnp.moveaxis(rows.reshape(rows.shape[0] // count, count, *rows.shape[1:]), 1, 0)  # [count, B / count, ...]

    return jax.tree.map(split, batch)


def _gradients(loss: Callable, state, batch: Batch, key: Key, count: int):
    """(carry, gradient, metrics) of a loss on this shard; gradient and metrics are means over ``count`` micro-batches."""
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
        carry, terms = micro_step(carry, inputs)
        return (carry, jax.tree.map(jnp.add, total, terms)), None

    micro_batches = _micro_batches(batch, count)
    first = jax.tree.map(lambda rows: rows[0], micro_batches)
    zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(lambda: micro_step(state.carry, (0, first))[1]))
    (carry, total), _ = jax.lax.scan(accumulate, (state.carry, zeros), (jnp.arange(count), micro_batches))
    grads, metrics = jax.tree.map(lambda leaf: leaf / count, total)
    return carry, grads, metrics


def _counted(state, metrics: dict[str, Array], finite: Array) -> tuple[dict[str, Array], Array]:
    """(the epoch's sums of metrics, the skipped updates in total and in a row) of a state, with this step's."""
    terms = {name: metrics[name] for name in state.sums if name != "updates"} | {"updates": jnp.float32(1)}
    sums = {name: total + jnp.where(finite, terms[name].astype(jnp.float32), 0) for name, total in state.sums.items()}
    total, in_row = state.skipped[0] + (1 - finite.astype(jnp.int32)), jnp.where(finite, 0, state.skipped[1] + 1)
    return sums, jnp.stack([total, in_row])


def make_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    augment: Callable | None = None,
    accumulate: int = 1,
    ema: float | Callable | None = None,
    remat: tuple[str, ...] | None = None,
) -> Callable:
    """The pure step ``(state, batch, key) -> (state, metrics)`` of any objective.

    The step's ``batch`` is the whole batch, or a device's shard where the axis "data" is bound. Its ``key`` is the root key of the run, the
    same at every step.
    ``augment``: ``(key, batch) -> batch``. ``accumulate``: the number of micro-batches whose gradients are averaged for one update; batch
    statistics and contrastive negatives then come from the micro-batch. ``ema``: the decay of a weight average, a number or a schedule of
    the step. ``remat``: the names of the values kept in memory for the backward pass, see ``rematerialized``; by default all are kept.

    A step whose loss or gradient is not finite changes no parameter, carry, optimizer state or average. ``state.skipped`` counts such
    steps. Metrics: those of the objective, ``loss``, ``gradient_norm``, ``skipped`` (in total), ``skipped_in_row`` and, where the
    optimizer records it, ``learning_rate``. Raises ValueError when ``accumulate`` does not divide the batch on a device.

    >>> import jax, jax.numpy as jnp, jaxvision as jv
    >>> loss = lambda params, carry, batch, *, key, step: (jnp.mean((params["w"] - batch["x"]) ** 2), jv.Aux(carry, {}))
    >>> objective = jv.Objective(lambda key, batch, given={}: ({"w": jnp.zeros(())}, jv.Carry({}, {})), loss, jv.core.unchanged)
    >>> batch, key, optimizer = {"x": jnp.ones(4)}, jax.random.key(0), jv.train.sgd(0.25)
    >>> state, metrics = jv.train.make_step(objective, optimizer)(jv.train.init(objective, optimizer, batch, key=key), batch, key)
    >>> float(metrics["loss"]), float(state.params["w"])
    (1.0, 0.5)
    """
    checks.integer("accumulate", accumulate)
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
        params, opt_state, average = moved(optimizer, grads, state.opt_state, state.params, finite=finite, average=old, decay=decay)
        carry = objective.after(params, carry, state.step)
        averages = state.ema
        if ema is not None:
            stats = where(finite, averaged(state.ema["stats"], carry.stats, decay), state.ema["stats"])
            averages = {"params": average, "stats": stats}
        carry = where(finite, carry, state.carry)
        sums, skipped = _counted(state, metrics, finite)
        metrics |= {"gradient_norm": norm, "skipped": skipped[0], "skipped_in_row": skipped[1]}
        if (rate := learning_rate_of(opt_state)) is not None:
            metrics["learning_rate"] = rate
        state = state._replace(
            step=state.step + 1, params=params, carry=carry, opt_state=opt_state, ema=averages, sums=sums, skipped=skipped
        )
        return state, metrics

    return step

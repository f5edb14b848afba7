"""The whole state of a training run as one tree: what a checkpoint holds and a step maps to its successor."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.core import Carry, Objective
from jaxvision.evaluate import Best
from jaxvision.train.step import augmented, draws
from jaxvision.typing import Array, Batch, Key


class TrainState(NamedTuple):
    """Everything that training needs to go on, and nothing that it can compute: no key, no iterator (position = step)."""

    step: Array  # int32, optimizer steps taken, skipped ones included
    params: dict  # float32, by module name
    carry: Carry
    opt_state: tuple
    ema: dict  # {"params", "stats"}: weight average, or {} when not asked for
    sums: dict[str, Array]  # the running sums of this epoch's metrics, and "updates", their number
    skipped: Array  # int32 [2]: updates skipped as not finite, in all and in a row
    best: Best  # the best validation figure so far, its step, and how many evaluations ago


def init(
    objective: Objective,
    optimizer,
    batch: Batch,
    *,
    key: Key,
    augment: Callable | None = None,
    ema: float | Callable | None = None,
    given: Mapping = {},
) -> TrainState:
    """The state before the first step.

    ``batch`` is a batch as it comes from the source, of any size (shapes matter, values do not); ``augment`` the same function that
    ``make_step`` gets; ``given`` parameters by module name to start from. Everything is a function of ``key``.
    """
    size = len(next(rows for rows in batch.values() if not isinstance(rows, Mapping)))
    few = jax.tree.map(lambda rows: rows[: max(1, 2 * len(rows) // size)], dict(batch))  # of further streams as many as belong to two
    views = jax.jit(lambda few: augmented(draws(key, few, 0).augment, few, augment))(few)
    params, carry = objective.init(draws(key, few, 0).init, views, given)
    _, aux = jax.eval_shape(lambda: objective.loss(params, carry, views, key=key, step=jnp.int32(0)))
    names = ["loss", *(name for name in aux.metrics if name != "loss")]
    state = TrainState(
        step=jnp.int32(0),
        params=params,
        carry=carry,
        opt_state=optimizer.init(params),
        ema={"params": params, "stats": carry.stats} if ema is not None else {},
        sums={name: jnp.float32(0) for name in [*names, "updates"]},
        skipped=jnp.zeros(2, jnp.int32),
        best=Best(),
    )
    return jax.tree.map(jnp.copy, state)  # a step donates its state: no leaf may be another's buffer, or the caller's


def variables(state: TrainState, module: str | None = None) -> dict:
    """What ``model.apply`` takes: {"params", "batch_stats"} of one module, averaged weights where the run keeps them.

    ``module`` is the module's name in ``state.params``; by default "model" if there is one, else "encoder", else the only one.
    Raises ValueError when it is not there.
    """
    source = state.ema or {"params": state.params, "stats": state.carry.stats}
    names = list(source["params"])
    module = module or next((name for name in ("model", "encoder") if name in names), names[0] if len(names) == 1 else None)
    if module not in names:
        raise ValueError(f"module: found {module!r}, expected one of {', '.join(names)}")
    stats = {"batch_stats": source["stats"][module]} if module in source["stats"] else {}
    return {"params": source["params"][module]} | stats

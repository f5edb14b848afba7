"""The whole state of a training run as one tree: what a checkpoint holds and a step maps to its successor."""

from collections.abc import Callable, Iterator, Mapping
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

    @jax.jit  # one program: layer by layer, a small ViT's thousand little ones compile for longer than it trains an epoch
    def start(key: Key, few: Batch, given: Mapping) -> TrainState:
        drawn = draws(key, few, 0)
        views = augmented(drawn.augment, few, augment)
        params, carry = objective.init(drawn.init, views, given)
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

    return start(key, few, given)


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


def _with_teachers(memory: Mapping, term: str = "") -> Iterator[tuple[str, Mapping]]:
    """(term, memory) of every objective that keeps an encoder as its teacher; those of a combined one lie under their terms' names."""
    if "encoder" in memory.get("teacher", {}):
        yield term, memory
        return
    for name, part in memory.items():
        if isinstance(part, Mapping):
            yield from _with_teachers(part, f"{term}/{name}" if term else name)


def teacher(state: TrainState) -> dict:
    """What ``model.apply`` takes, of the encoder that an objective keeps as its teacher: {"params", "batch_stats"}, its own statistics.

    DINO's authors judge the teacher; ``variables`` gives the student. Raises ValueError where the run keeps no such encoder, or where
    several terms of a combined objective keep one.
    """
    found = list(_with_teachers(state.carry.memory))
    if not found:
        raise ValueError("teacher: found none, this run keeps no encoder beside the one that it trains; jv.train.variables gives that")
    if len(found) > 1:
        raise ValueError(f"teacher: found one in each of the terms {', '.join(term for term, _ in found)}, expected a run with one alone")
    memory = found[0][1]
    stats = memory.get("stats", {}).get("encoder", {})
    return {"params": memory["teacher"]["encoder"]} | ({"batch_stats": stats} if stats else {})

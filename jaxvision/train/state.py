"""The whole state of a training run as one tree: a checkpoint holds it, and a step maps it to the next."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxvision.core import Carry, Objective
from jaxvision.evaluate import Best
from jaxvision.train.step import augmented, draws
from jaxvision.typing import Array, Batch, Key


class TrainState(NamedTuple):
    """Everything that training needs to resume. It holds no key and no iterator: both follow from ``step``.

    >>> import jaxvision as jv
    >>> jv.train.TrainState._fields[:4]
    ('step', 'params', 'carry', 'opt_state')
    """

    step: Array  # int32, optimizer steps taken, skipped ones included
    params: dict  # float32, by module name
    carry: Carry
    opt_state: tuple
    ema: dict  # {"params", "stats"}: weight average, or {} when not asked for
    sums: dict[str, Array]  # the running sums of this epoch's metrics, and "updates", their number
    skipped: Array  # int32 [2]: updates skipped as not finite, in all and in a row
    best: Best  # the best validation metric so far, its step, and how many evaluations ago


class Initializer(NamedTuple):
    """The initialization of a state, not yet run: its shapes can be known without computing anything."""

    program: Callable  # compiled at the first call
    arguments: tuple

    def template(self) -> TrainState:
        """The state's shapes and types, as ``jax.ShapeDtypeStruct``; nothing is computed."""
        return self.program.eval_shape(*self.arguments)

    def state(self) -> TrainState:
        """The state before the first step."""
        return self.program(*self.arguments)


def initializer(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    batch: Batch,
    *,
    key: Key,
    augment: Callable | None = None,
    ema: float | Callable | None = None,
    given: Mapping = {},
) -> Initializer:
    """The initialization that ``init`` runs, for its state or only for the shapes; the arguments are those of ``init``."""
    size = len(next(rows for rows in batch.values() if not isinstance(rows, Mapping)))
    few = jax.tree.map(lambda rows: rows[: max(1, 2 * len(rows) // size)], dict(batch))  # two examples, and their part of other streams

    @jax.jit  # one program: a small ViT's thousand operations, compiled one by one, would take longer than an epoch
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
        return jax.tree.map(jnp.copy, state)  # a step donates its state: no two leaves may share a buffer, also not with the caller

    return Initializer(start, (key, few, given))


def init(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    batch: Batch,
    *,
    key: Key,
    augment: Callable | None = None,
    ema: float | Callable | None = None,
    given: Mapping = {},
) -> TrainState:
    """The state before the first step, a function of ``key``.

    ``batch`` is a batch as it comes from the source, of any size; only its shapes matter. ``augment`` is the function that
    ``make_step`` gets. ``ema`` is not None where the state holds a weight average. ``given`` are parameters to start from, by module name.

    >>> import jax, jaxvision as jv  # slow
    >>> model, optimizer = jv.create_model("lenet5", num_classes=10), jv.train.sgd(0.1)
    >>> batch = next(jv.data.batches(jv.data.synthetic(8), 8, steps=1))
    >>> state = jv.train.init(jv.objectives.supervised(model), optimizer, batch, key=jax.random.key(0))
    >>> int(state.step), list(state.params)
    (0, ['model'])
    """
    return initializer(objective, optimizer, batch, key=key, augment=augment, ema=ema, given=given).state()


def evaluated_module(params: Mapping, name: str | None = None) -> str | None:
    """The name of the module that is evaluated: ``name``, else "model", else "encoder", else the only one; None where there is none."""
    names = list(params)
    if name is not None:
        return name if name in names else None
    return next((name for name in ("model", "encoder") if name in names), names[0] if len(names) == 1 else None)


def variables(state: TrainState, module: str | None = None) -> dict:
    """What ``model.apply`` takes: {"params", "batch_stats"} of one module, averaged weights where the run keeps them.

    ``module`` is the module's name in ``state.params``, such as ``experiment.evaluated``; by default "model", else "encoder", else the
    only one. Raises ValueError when there is no such module.

    >>> import jax, jaxvision as jv  # slow
    >>> model, batch = jv.create_model("lenet5", num_classes=10), next(jv.data.batches(jv.data.synthetic(8), 8, steps=1))
    >>> state = jv.train.init(jv.objectives.supervised(model), jv.train.sgd(0.1), batch, key=jax.random.key(0))
    >>> model.apply(jv.train.variables(state), jv.typing.to_float(batch["image"])).shape
    (8, 10)
    """
    source = state.ema or {"params": state.params, "stats": state.carry.stats}
    found = evaluated_module(source["params"], module)
    if found is None:
        raise ValueError(f"module: found {module!r}, expected one of {', '.join(source['params'])}")
    stats = {"batch_stats": source["stats"][found]} if found in source["stats"] else {}
    return {"params": source["params"][found]} | stats


def _with_teachers(memory: Mapping, term: str = "") -> Iterator[tuple[str, Mapping]]:
    """(term, memory) of every objective that keeps an encoder as its teacher; a combined objective keeps them under its terms' names."""
    if "encoder" in memory.get("teacher", {}):
        yield term, memory
        return
    for name, part in memory.items():
        if isinstance(part, Mapping):
            yield from _with_teachers(part, f"{term}/{name}" if term else name)


def teacher(state: TrainState) -> dict:
    """What ``model.apply`` takes, of the encoder that an objective keeps as its teacher: {"params", "batch_stats"}.

    DINO's authors evaluate the teacher; ``variables`` gives the student. Raises ValueError where the run keeps no teacher, or where
    several terms of a combined objective keep one.

    >>> import jax, jaxvision as jv  # slow
    >>> encoder, batch = jv.create_model("resnet20", num_classes=0), next(jv.data.batches(jv.data.synthetic(8), 8, steps=1))
    >>> twice = lambda key, batch: batch | {"views": jax.numpy.stack([batch["image"]] * 2, axis=1)}
    >>> objective = jv.objectives.byol(encoder, hidden=8, projection=4)
    >>> state = jv.train.init(objective, jv.train.sgd(0.1), batch, key=jax.random.key(0), augment=twice)
    >>> sorted(jv.train.teacher(state))
    ['batch_stats', 'params']
    """
    found = list(_with_teachers(state.carry.memory))
    if not found:
        raise ValueError("teacher: found none: this run keeps no encoder besides the one that it trains (jv.train.variables)")
    if len(found) > 1:
        raise ValueError(f"teacher: found one in each of the terms {', '.join(term for term, _ in found)}, expected only one")
    memory = found[0][1]
    stats = memory.get("stats", {}).get("encoder", {})
    return {"params": memory["teacher"]["encoder"]} | ({"batch_stats": stats} if stats else {})

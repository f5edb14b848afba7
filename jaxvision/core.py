"""The central type: an ``Objective`` is a training signal as three pure functions, and ``combine`` adds several. Read this file first.

An objective says what is learned: which modules there are, what is remembered between steps, and the loss. ``jv.train`` moves the
parameters of any objective without knowing the method. A step does, in this order::

    (loss, aux), grads = value_and_grad(objective.loss)(params, carry, batch, key=key, step=step)
    params = optimizer(grads, params)
    carry = objective.after(params, aux.carry, step)
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxvision._public import set_public_names
from jaxvision.typing import Array, Batch, Key

__all__ = ["Aux", "Carry", "Objective", "combine", "fold_name", "unchanged"]
set_public_names(__name__, __all__)


class Carry(NamedTuple):
    """What an objective remembers between steps, besides parameters.

    >>> from jaxvision.core import Carry
    >>> Carry(stats={"encoder": {"mean": 0.0}}, memory={}).stats["encoder"]
    {'mean': 0.0}
    """

    stats: dict  # running statistics (BatchNorm), by module name; shared between terms like parameters
    memory: dict  # private to one objective: an EMA teacher, a centre, a queue


class Aux(NamedTuple):
    """What ``Objective.loss`` returns in addition to the loss.

    >>> from jaxvision.core import Aux, Carry
    >>> Aux(Carry({}, {}), {"loss": 1.5}).metrics
    {'loss': 1.5}
    """

    carry: Carry
    metrics: dict[str, Array]  # scalars of this shard; the step averages them over the shards


class Objective(NamedTuple):
    """A training signal as three pure functions.

    * ``init(key, batch, given={}) -> (params, Carry)``: new parameters by module name; those in ``given`` are reused (sharing, warm start).
    * ``loss(params, carry, batch, *, key, step) -> (scalar, Aux)``: differentiated in ``params``.
    * ``after(params, carry, step) -> Carry``: called once the optimizer has moved the parameters; EMA teachers are updated here.

    >>> from jaxvision.core import Aux, Carry, Objective, unchanged
    >>> init = lambda key, batch, given={}: ({"model": given.get("model", 2.0)}, Carry({}, {}))
    >>> loss = lambda params, carry, batch, *, key, step: ((params["model"] - batch["target"]) ** 2, Aux(carry, {}))
    >>> objective = Objective(init, loss, unchanged)
    >>> params, carry = objective.init(None, {})
    >>> objective.loss(params, carry, {"target": 5.0}, key=None, step=0)[0]
    9.0
    """

    init: Callable
    loss: Callable
    after: Callable


def unchanged(params: dict, carry: Carry, step: Array) -> Carry:
    """The ``after`` of an objective that does nothing there.

    >>> import jaxvision as jv
    >>> jv.core.unchanged({}, jv.Carry({}, {"queue": 1}), step=0).memory
    {'queue': 1}
    """
    return carry


def fold_name(key: Key, name: str) -> Key:
    """A key derived from ``key`` and a name, the same on every machine and in every process.

    >>> import jax, jaxvision as jv
    >>> key = jax.random.key(0)
    >>> bool(jv.core.fold_name(key, "simclr") == jv.core.fold_name(key, "dino"))
    False
    """
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


class _Term(NamedTuple):
    name: str
    weight: Callable  # step -> float
    objective: Objective | None  # None for a plain function
    loss: Callable


def _read_term(name: str, term) -> _Term:
    expected = "expected (weight, objective) or (weight, function), weight a number or a schedule of step"
    if isinstance(term, Objective) or not isinstance(term, tuple) or len(term) != 2:
        raise TypeError(f"{name}: found {type(term).__name__}, {expected}")
    weight, signal = term
    if not callable(signal) and not isinstance(signal, Objective):
        raise TypeError(f"{name}: found (weight, {type(signal).__name__}), {expected}")
    schedule = weight if callable(weight) else lambda step: weight
    objective = signal if isinstance(signal, Objective) else None
    return _Term(name, schedule, objective, objective.loss if objective else signal)


def _view(tree: dict, term: _Term, share: tuple) -> dict:
    """The part of a combined tree that a term sees: the shared modules and its own. A plain function sees the whole tree."""
    if term.objective is None:
        return tree
    return {name: tree[name] for name in share if name in tree} | tree.get(term.name, {})


def _write(tree: dict, term: _Term, part: dict, share: tuple) -> dict:
    """The combined tree with a term's part written back."""
    if term.objective is None:
        return part
    shared = {name: value for name, value in part.items() if name in share}
    private = {name: value for name, value in part.items() if name not in share}
    return tree | shared | ({term.name: private} if private else {})


def _view_carry(carry: Carry, term: _Term, share: tuple) -> Carry:
    return Carry(_view(carry.stats, term, share), carry.memory.get(term.name, {}))


def _write_carry(carry: Carry, term: _Term, part: Carry, share: tuple) -> Carry:
    memory = {term.name: part.memory} if term.name in carry.memory else {}
    return Carry(_write(carry.stats, term, part.stats, share), carry.memory | memory)


def _check_shared(term: _Term, key: Key, batch: Batch, params: dict, share: tuple) -> None:
    """Raise ValueError where a shared module has other parameters than the term alone would give it."""
    alone, _ = jax.eval_shape(term.objective.init, key, batch)
    for name in share:
        if name in alone and name in params and jax.tree.map(jnp.shape, alone[name]) != jax.tree.map(jnp.shape, params[name]):
            raise ValueError(f"share: {name!r} of term {term.name!r} differs from that of the terms before it; give both one module")


def _combined(terms: tuple[_Term, ...], share: tuple[str, ...]) -> Objective:
    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        params, stats, memory = {}, {}, {}
        for term in terms:
            if term.objective is None:
                continue
            term_key = fold_name(key, term.name)
            _check_shared(term, term_key, batch, params, share)
            reused = {name: given[name] for name in share if name in given} | given.get(term.name, {}) | _view(params, term, share)
            own, carry = term.objective.init(term_key, batch, reused)
            params = _write(params, term, own, share)
            stats = _write(stats, term, carry.stats | _view(stats, term, share), share)
            memory = memory | ({term.name: carry.memory} if carry.memory else {})
        if missing := set(share) - set(params):
            modules = sorted(name for term in terms for name in params.get(term.name, {}))
            raise ValueError(f"share: no term has a module named {', '.join(sorted(missing))}; their modules are {', '.join(modules)}")
        if surplus := set(given) - set(params):
            raise ValueError(f"given: found {', '.join(sorted(surplus))}, expected names of modules and terms: {', '.join(params)}")
        return params, Carry(stats, memory)

    def loss(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        metrics, total = {}, jnp.float32(0)
        for term in terms:
            part, term_key = _view_carry(carry, term, share), fold_name(key, term.name)
            value, aux = term.loss(_view(params, term, share), part, batch, key=term_key, step=step)
            carry = _write_carry(carry, term, aux.carry, share)
            total = total + term.weight(step) * value
            metrics |= {f"{term.name}/{name}": metric for name, metric in ({"loss": value} | aux.metrics).items()}
        return total, Aux(carry, metrics | {"loss": total})

    def after(params: dict, carry: Carry, step: Array) -> Carry:
        for term in terms:
            if term.objective is not None:
                part = term.objective.after(_view(params, term, share), _view_carry(carry, term, share), step)
                carry = _write_carry(carry, term, part, share)
        return carry

    return Objective(init, loss, after)


def combine(*, share: tuple[str, ...] = (), **terms: Any) -> Objective:
    """The weighted sum of several training signals, itself an ``Objective``: L = sum_i weight_i(step) L_i.

    Each term is ``(weight, signal)``. The weight is a number or a schedule of ``step``. The signal is an ``Objective``, or a function with
    the signature of ``Objective.loss``, which sees all parameters and has no init, memory or after. Modules named in ``share`` are stored
    once, at the top of the parameter tree; every other module is stored under its term's name. Terms run in the order given: shared
    ``stats`` pass from one to the next, ``memory`` is each term's own, a term's key is folded with its name. Metrics are named
    ``term/metric``; the sum is ``loss``.

    Raises TypeError for a term of another form, ValueError for a shared name that no term has or whose parameters differ in shape.

    >>> import jax
    >>> import jaxvision as jv
    >>> norm = lambda params, carry, batch, *, key, step: (sum(params.values()) ** 2, jv.Aux(carry, {}))
    >>> objective = jv.combine(norm=(0.5, norm))
    >>> value, aux = objective.loss({"a": 1.0, "b": 3.0}, jv.Carry({}, {}), {}, key=jax.random.key(0), step=0)
    >>> print(value, aux.metrics["norm/loss"])
    8.0 16.0
    """
    share = (share,) if isinstance(share, str) else tuple(share)
    if not terms:
        raise ValueError("combine: found no terms, expected at least one such as contrast=(1.0, objective)")
    if clash := set(share) & set(terms):
        raise ValueError(f"share: {', '.join(sorted(clash))} is also the name of a term; rename the term")
    return _combined(tuple(_read_term(name, term) for name, term in terms.items()), share)

"""The joint of the house: a training signal is three pure functions, and signals add up. If you read one file, read this one.

An ``Objective`` says what is learned. ``train`` moves any objective's parameters without knowing which method it is;
``combine`` makes one objective of several, on modules that they share.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.typing import Array, Batch, Key


class Carry(NamedTuple):
    """What a training signal remembers between steps, besides parameters."""

    stats: dict  # running statistics (BatchNorm), by module name; shared like parameters
    memory: dict  # private to one objective: EMA teacher, centre, queue


class Aux(NamedTuple):
    """What a loss hands back beside its value."""

    carry: Carry
    metrics: dict[str, Array]  # scalars of this shard; the step averages them over the axis


class Objective(NamedTuple):
    """A training signal as three pure functions.

    ``init(key, batch, given={}) -> (params, Carry)``: parameters by module name; those in ``given`` are reused (sharing, warm start).
    ``loss(params, carry, batch, *, key, step) -> (scalar, Aux)``: differentiated in ``params``.
    ``after(params, carry, step) -> carry``: once the optimizer has moved; EMA teachers live here.
    """

    init: Callable
    loss: Callable
    after: Callable


def unchanged(params: dict, carry: Carry, step: Array) -> Carry:
    """The ``after`` of an objective that has nothing to do once the optimizer has moved."""
    return carry


def fold_name(key: Key, name: str) -> Key:
    """A key of its own for every name, the same on every machine and in every session."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def reuse(name: str, fresh: Mapping, given: Mapping) -> dict:
    """``fresh`` with every leaf that ``given`` has, of the same shape; what ``given`` lacks (a new head, say) stays fresh.

    Raises ValueError, naming the leaf, where ``given`` has one that ``fresh`` lacks or whose shape differs.
    """
    merged = dict(fresh)
    for child, value in given.items():
        path = f"{name}/{child}"
        if child not in fresh:
            raise ValueError(f"given: {path} has no place in this module, which has {', '.join(fresh) or 'nothing'}")
        if isinstance(fresh[child], Mapping) != isinstance(value, Mapping):
            raise ValueError(f"given: {path} is a leaf on one side and a tree on the other")
        if isinstance(value, Mapping):
            merged[child] = reuse(path, fresh[child], value)
        elif jnp.shape(value) != jnp.shape(fresh[child]):
            raise ValueError(f"given: {path} has shape {jnp.shape(value)}, expected {jnp.shape(fresh[child])}")
        else:
            merged[child] = jnp.asarray(value, fresh[child].dtype)
    return merged


class _Term(NamedTuple):
    name: str
    weight: Callable  # step -> float
    objective: Objective | None  # None for a plain function
    loss: Callable


def _read_term(name: str, term) -> _Term:
    form = f"{name}: expected (weight, objective) or (weight, function), weight a number or a schedule of step"
    if isinstance(term, Objective) or not isinstance(term, tuple) or len(term) != 2:
        raise TypeError(f"{form}; found {type(term).__name__}")
    weight, signal = term
    if not callable(signal) and not isinstance(signal, Objective):
        raise TypeError(f"{form}; found (…, {type(signal).__name__})")
    schedule = weight if callable(weight) else lambda step: weight
    objective = signal if isinstance(signal, Objective) else None
    return _Term(name, schedule, objective, objective.loss if objective else signal)


def _own(tree: dict, term: _Term, share: tuple) -> dict:
    """The part of a combined tree that a term sees: shared modules and its own; a plain function sees everything."""
    if term.objective is None:
        return tree
    return {name: tree[name] for name in share if name in tree} | tree.get(term.name, {})


def _put(tree: dict, term: _Term, part: dict, share: tuple) -> dict:
    """The combined tree with a term's part written back."""
    if term.objective is None:
        return part
    shared = {name: value for name, value in part.items() if name in share}
    private = {name: value for name, value in part.items() if name not in share}
    return tree | shared | ({term.name: private} if private else {})


def _seen(carry: Carry, term: _Term, share: tuple) -> Carry:
    return Carry(_own(carry.stats, term, share), carry.memory.get(term.name, {}))


def _kept(carry: Carry, term: _Term, part: Carry, share: tuple) -> Carry:
    memory = {term.name: part.memory} if term.name in carry.memory else {}
    return Carry(_put(carry.stats, term, part.stats, share), carry.memory | memory)


def _check_shared(term: _Term, key: Key, batch: Batch, params: dict, share: tuple) -> None:
    """A module that two terms share must be the same in both: the term alone would have made parameters of the same shapes."""
    alone, _ = jax.eval_shape(term.objective.init, key, batch)
    for name in share:
        if name not in alone or name not in params:
            continue
        if jax.tree.map(jnp.shape, alone[name]) != jax.tree.map(jnp.shape, params[name]):
            raise ValueError(
                f"share: {name!r} in term {term.name!r} is another module than in the terms before it; give both terms the same one"
            )


def combine(*, share: tuple[str, ...] = (), **terms) -> Objective:
    """The weighted sum of several training signals, itself an Objective.

    Each term is ``(weight, signal)``: the weight a number or a schedule of ``step``; the signal an Objective or any function with the
    signature of ``Objective.loss`` (it then sees all parameters and has no init, memory or after). Modules named in ``share`` are
    stored once, at the top of the parameter tree; every other module lies under its term's name. Terms run in the order given:
    shared ``stats`` flow from one to the next, ``memory`` is each term's own, and a term's key is folded with its name.
    Metrics come back as ``term/metric``, the total as ``loss``.

    Raises TypeError for a term of another form, ValueError for a shared name that no term has or whose parameters differ in shape.
    """
    share = (share,) if isinstance(share, str) else tuple(share)
    if not terms:
        raise ValueError("combine: found no terms, expected at least one such as contrast=(1.0, objective)")
    if clash := set(share) & set(terms):
        raise ValueError(f"combine: {', '.join(sorted(clash))} names both a shared module and a term; rename the term")
    read = tuple(_read_term(name, term) for name, term in terms.items())

    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        params, stats, memory = {}, {}, {}
        for term in read:
            if term.objective is None:
                continue
            key_term = fold_name(key, term.name)
            _check_shared(term, key_term, batch, params, share)
            reused = {name: given[name] for name in share if name in given} | given.get(term.name, {}) | _own(params, term, share)
            own, carry = term.objective.init(key_term, batch, reused)
            params = _put(params, term, own, share)
            stats = _put(stats, term, carry.stats | _own(stats, term, share), share)
            memory = memory | ({term.name: carry.memory} if carry.memory else {})
        if missing := set(share) - set(params):
            modules = sorted(name for term in read for name in params.get(term.name, {}))
            raise ValueError(f"share: no term has a module named {', '.join(sorted(missing))}; their modules are {', '.join(modules)}")
        if surplus := set(given) - set(params):
            raise ValueError(f"given: {', '.join(sorted(surplus))} is no module here; expected some of {', '.join(params)}")
        return params, Carry(stats, memory)

    def loss(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        metrics, total = {}, jnp.float32(0)
        for term in read:
            seen, key_term = _seen(carry, term, share), fold_name(key, term.name)
            value, aux = term.loss(_own(params, term, share), seen, batch, key=key_term, step=step)
            carry = _kept(carry, term, aux.carry, share)
            total = total + term.weight(step) * value
            metrics |= {f"{term.name}/{name}": metric for name, metric in ({"loss": value} | aux.metrics).items()}
        return total, Aux(carry, metrics | {"loss": total})

    def after(params: dict, carry: Carry, step: Array) -> Carry:
        for term in read:
            if term.objective is not None:
                moved = term.objective.after(_own(params, term, share), _seen(carry, term, share), step)
                carry = _kept(carry, term, moved, share)
        return carry

    return Objective(init, loss, after)

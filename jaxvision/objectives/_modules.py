"""What objectives share: the checks of their options, how they read batches, start and run modules, and several views as one batch."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision import axis
from jaxvision.core import fold_name, reuse
from jaxvision.losses import _numerics
from jaxvision.typing import Array, Batch, Features, Key, to_float


def check_model(name: str, model) -> None:
    """Raises ValueError, naming it, for what is no Linen module."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"{name}: found {repr(model):.60}, expected a Linen module such as jv.create_model gives")


def check_encoder(encoder) -> None:
    """Raises ValueError for what is no Linen module with ``features``."""
    check_model("encoder", encoder)
    if not callable(getattr(encoder, "features", None)):  # a dense layer has a number of that name
        kind = type(encoder).__name__
        raise ValueError(f"encoder: {kind} has no method features(image, train=), expected one such as jv.create_model gives")


def positive(**sizes) -> None:
    """Raises ValueError for a size or a count that is not an integer above 0."""
    for name, size in sizes.items():
        if not hasattr(size, "__index__") or size < 1:
            raise ValueError(f"{name}: found {size!r}, expected an integer above 0")


def constant(**options) -> dict:
    """Those of the options that may be schedules which are numbers: a schedule is known at its steps alone."""
    return {name: option for name, option in options.items() if not callable(option)}


def above_zero(**numbers) -> None:
    """Raises ValueError for what is no number above 0."""
    for name, number in numbers.items():
        _numerics.above_zero(name, number)


def not_below_zero(**numbers) -> None:
    """Raises ValueError for what is no number of at least 0."""
    for name, number in numbers.items():
        _numerics.not_below_zero(name, number)


def from_zero_to_one(**numbers) -> None:
    """Raises ValueError for what is no number in [0, 1]."""
    for name, number in numbers.items():
        _numerics.from_zero_to_one(name, number)


def read(batch: Batch, method: str, *names: str, recipe: str) -> tuple[Array, ...]:
    """The arrays of ``batch`` that a method reads, as float. Raises ValueError for one that is missing, with the recipe that makes it."""
    for name in names:
        if name not in batch:
            raise ValueError(f"batch: {method} reads {name!r}, found {', '.join(sorted(batch))}; {recipe} makes it")
    return tuple(to_float(batch[name]) for name in names)


def read_labels(batch: Batch, method: str, *, otherwise: str = "") -> Array:
    """The labels of a batch as they are. Raises ValueError where there are none; ``otherwise`` says how to do without."""
    if "label" not in batch:
        raise ValueError(f"batch: {method} reads 'label', found {', '.join(sorted(batch))}; take a source with labels{otherwise}")
    return batch["label"]


def top1(logits: Array, labels: Array) -> Array:
    """The share of rows whose largest logit is their label; a soft label, or logits for labels [B, K], counts as its largest class."""
    truth = labels if labels.ndim == 1 else jnp.argmax(labels, axis=-1)
    return jnp.mean((jnp.argmax(logits, axis=-1) == truth).astype(jnp.float32))


def check_given(method: str, given: Mapping, *modules: str) -> None:
    """Raises ValueError for parameters given to a method that has no such module."""
    if surplus := set(given) - set(modules):
        raise ValueError(f"given: {method} has {', '.join(modules)}; found {', '.join(sorted(surplus))}")


def of_modules(tree: Mapping, names: tuple[str, ...]) -> dict:
    """The part of a tree by module name that belongs to the modules called ``names``."""
    return {name: tree[name] for name in names if name in tree}


def with_stats(stats: dict, name: str, moved: dict) -> dict:
    """Running statistics by module name after those of one have ``moved``; a module without statistics has no entry."""
    return stats | ({name: moved} if moved else {})


def warmed(name: str, variables: Mapping, given: Mapping) -> tuple[dict, dict]:
    """(parameters, running statistics, or {}) of a new module called ``name`` with those reused that ``given[name]`` has.

    That is a tree of parameters, or {"params", "batch_stats"} as ``model.apply`` takes them.
    """
    had = given.get(name, {})
    had = had if "params" in had else {"params": had}
    stats = variables.get("batch_stats", {})
    surplus = had.get("batch_stats", {}) if stats else {}
    return reuse(name, variables.get("params", {}), had["params"]), reuse(name, stats, surplus)


def start(name: str, module, key: Key, *inputs, given: Mapping = {}, method: Callable | str | None = None, **options) -> tuple[dict, dict]:
    """(parameters, running statistics, or {}) of a new module called ``name``, those in ``given[name]`` reused.

    The key is folded with the name, so that a module begins the same whatever stands beside it.
    """
    run = lambda key, *inputs: module.init(key, *inputs, **options, **({"method": method} if method else {}))  # noqa: E731
    variables = jax.jit(run)(fold_name(key, name), *inputs)
    return warmed(name, variables, given)


def start_encoder(key: Key, encoder, image: Array, *, given: Mapping = {}, name: str = "encoder", **options) -> tuple[dict, dict]:
    """``start`` of an encoder from images [B, H, W, C], one of which is enough; heads that features do not need get no parameters."""
    return start(name, encoder, key, image[:1], given=given, method="features", **options)


def apply(module, params: dict, stats: dict, *inputs, key: Key, train: bool = True, method: Callable | str | None = None, **options):
    """(outputs, running statistics after it) of a module; ``stats`` is {} where it has none. Dropout draws from ``key``."""
    variables = {"params": params} | ({"batch_stats": stats} if stats else {})
    options = options | ({"method": method} if method else {})
    outputs, moved = module.apply(variables, *inputs, train=train, mutable=["batch_stats"], rngs={"dropout": key}, **options)
    return outputs, (moved["batch_stats"] if stats else stats)


def encode(encoder, params: dict, stats: dict, image: Array, *, key: Key, train: bool = True, **options) -> tuple[Features, dict]:
    """(features, running statistics after it) of images [B, H, W, C]; ``options`` such as ``keep`` or ``mask`` go to the encoder."""
    return apply(encoder, params, stats, image, key=key, train=train, method="features", **options)


def example_keys(key: Key, count: int) -> Array:
    """A key for each of this shard's ``count`` examples, folded with its global position: the same draws on any number of devices."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, axis.position(count))


def as_one_batch(views: Array) -> Array:
    """Views [B, V, ...] as [B V, ...], example by example: their global positions are then the same on any number of devices."""
    return views.reshape(-1, *views.shape[2:])  # [B V, ...]


def by_view(rows: Array, count: int) -> Array:
    """Rows [B V, ...] as [V, B, ...], the inverse of ``as_one_batch`` with the views in front."""
    return jnp.moveaxis(rows.reshape(-1, count, *rows.shape[1:]), 1, 0)  # [V, B, ...]


def moving_average(teacher, student, momentum: Array | float):
    """momentum teacher + (1 - momentum) student, leaf by leaf (Tarvainen & Valpola, 2017; Grill et al., 2020)."""
    return jax.tree.map(lambda old, new: (momentum * old + (1 - momentum) * new).astype(old.dtype), teacher, student)


def apart(teacher, student) -> Array:
    """How far two trees of parameters are from each other: the norm of their difference over that of the student, both over all leaves."""
    square = lambda tree: sum(jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(tree))  # noqa: E731
    difference = jax.tree.map(jnp.subtract, teacher, student)
    return jnp.sqrt(square(difference) / jnp.maximum(square(student), 1e-30))


def at(value: float | Callable, step: Array) -> Array:
    """A number, or the value of a schedule at ``step``."""
    return jnp.asarray(value(step) if callable(value) else value, jnp.float32)

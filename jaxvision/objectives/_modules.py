"""Module calls shared by the objectives: reading a batch, initializing and applying modules, and running several views as one batch."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision.core import fold_name
from jaxvision.typing import Array, Batch, Features, Key, to_float


def check_model(name: str, model: nn.Module) -> None:
    """Raise ValueError unless ``model`` is a Linen module."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"{name}: found {repr(model):.60}, expected a Linen module, for example from jv.create_model")


def check_encoder(encoder: nn.Module) -> None:
    """Raise ValueError unless ``encoder`` is a Linen module with a method ``features``."""
    check_model("encoder", encoder)
    if not callable(getattr(encoder, "features", None)):  # flax.linen.Dense has an integer field of that name
        kind = type(encoder).__name__
        raise ValueError(f"encoder: {kind} has no method features(image, train=), expected an encoder, for example from jv.create_model")


def constants(**options) -> dict:
    """Those of the options that are not schedules. The value of a schedule is only known at a step, so it is not checked."""
    return {name: option for name, option in options.items() if not callable(option)}


def value_at(option: float | Callable, step: Array) -> Array:
    """A number, or the value of a schedule at ``step``."""
    return jnp.asarray(option(step) if callable(option) else option, jnp.float32)


def read(batch: Batch, method: str, *names: str, recipe: str) -> tuple[Array, ...]:
    """The named arrays of ``batch`` as float. Raises ValueError for a missing one; ``recipe`` names what makes it."""
    for name in names:
        if name not in batch:
            raise ValueError(f"batch: {method} reads {name!r}, found {', '.join(sorted(batch))}; {recipe} makes it")
    return tuple(to_float(batch[name]) for name in names)


def read_labels(batch: Batch, method: str, *, otherwise: str = "") -> Array:
    """The labels of a batch, unchanged. Raises ValueError where there are none; ``otherwise`` says how the method works without them."""
    if "label" not in batch:
        raise ValueError(f"batch: {method} reads 'label', found {', '.join(sorted(batch))}; take a source with labels{otherwise}")
    return batch["label"]


def top1(logits: Array, labels: Array) -> Array:
    """Accuracy of logits [B, K] for class numbers [B], or for distributions or other logits [B, K], whose largest entry is the class."""
    target = labels if labels.ndim == 1 else jnp.argmax(labels, axis=-1)
    return jnp.mean((jnp.argmax(logits, axis=-1) == target).astype(jnp.float32))


def check_given(method: str, given: Mapping, *modules: str) -> None:
    """Raise ValueError where ``given`` has parameters of a module that the method does not have."""
    if surplus := set(given) - set(modules):
        raise ValueError(f"given: {method} has {', '.join(modules)}; found {', '.join(sorted(surplus))}")


def of_modules(tree: Mapping, names: tuple[str, ...]) -> dict:
    """The entries of a tree by module name that belong to ``names``; names that are missing are left out."""
    return {name: tree[name] for name in names if name in tree}


def with_stats(stats: dict, name: str, moved: dict) -> dict:
    """``stats`` with the new statistics ``moved`` of the module ``name``; a module without statistics has no entry."""
    return stats | ({name: moved} if moved else {})


def reuse(name: str, fresh: Mapping, given: Mapping) -> dict:
    """The tree ``fresh`` of the module ``name``, with every leaf that ``given`` has; leaves that ``given`` lacks stay as they are.

    Raises ValueError, naming the leaf, where ``given`` has one that ``fresh`` lacks or whose shape differs.
    """
    merged = dict(fresh)
    for child, value in given.items():
        path = f"{name}/{child}"
        if child not in fresh:
            raise ValueError(f"given: {path} has no place in this module, which has {', '.join(fresh) or 'no parameters'}")
        if isinstance(fresh[child], Mapping) != isinstance(value, Mapping):
            raise ValueError(f"given: {path} is an array in one tree and a subtree in the other")
        if isinstance(value, Mapping):
            merged[child] = reuse(path, fresh[child], value)
        elif jnp.shape(value) != jnp.shape(fresh[child]):
            raise ValueError(f"given: {path} has shape {jnp.shape(value)}, expected {jnp.shape(fresh[child])}")
        else:
            merged[child] = jnp.asarray(value, fresh[child].dtype)
    return merged


def with_given(name: str, variables: Mapping, given: Mapping) -> tuple[dict, dict]:
    """(parameters, running statistics or {}) of a new module ``name``, with the leaves of ``given[name]`` reused.

    ``given[name]`` is a tree of parameters, or {"params", "batch_stats"} as ``model.apply`` takes it.
    """
    reused = given.get(name, {})
    reused = reused if "params" in reused else {"params": reused}
    stats = variables.get("batch_stats", {})
    reused_stats = reused.get("batch_stats", {}) if stats else {}
    return reuse(name, variables.get("params", {}), reused["params"]), reuse(name, stats, reused_stats)


def start(name: str, module, key: Key, *inputs, given: Mapping = {}, method: Callable | str | None = None, **options) -> tuple[dict, dict]:
    """(parameters, running statistics or {}) of a new module ``name``, with the leaves of ``given[name]`` reused.

    The key is folded with the name, so the initial values do not depend on the other modules.
    """
    run = lambda key, *inputs: module.init(key, *inputs, **options, **({"method": method} if method else {}))  # noqa: E731
    variables = jax.jit(run)(fold_name(key, name), *inputs)
    return with_given(name, variables, given)


def start_encoder(
    key: Key, encoder: nn.Module, image: Array, *, given: Mapping = {}, name: str = "encoder", **options
) -> tuple[dict, dict]:
    """``start`` of an encoder from the first of images [B, H, W, C]; a head, which ``features`` does not use, gets no parameters."""
    return start(name, encoder, key, image[:1], given=given, method="features", **options)


def apply(module, params: dict, stats: dict, *inputs, key: Key, train: bool = True, method: Callable | str | None = None, **options):
    """(outputs, new running statistics) of a module; ``stats`` is {} where it has none. Dropout draws from ``key``."""
    variables = {"params": params} | ({"batch_stats": stats} if stats else {})
    options = options | ({"method": method} if method else {})
    outputs, moved = module.apply(variables, *inputs, train=train, mutable=["batch_stats"], rngs={"dropout": key}, **options)
    return outputs, (moved["batch_stats"] if stats else stats)


def encode(
    encoder: nn.Module, params: dict, stats: dict, image: Array, *, key: Key, train: bool = True, **options
) -> tuple[Features, dict]:
    """(features, new running statistics) of images [B, H, W, C]; ``options`` such as ``keep`` or ``mask`` go to the encoder."""
    return apply(encoder, params, stats, image, key=key, train=train, method="features", **options)


def as_one_batch(views: Array) -> Array:
    """Views [B, V, ...] as [B V, ...], example by example, so that global positions are the same on any number of devices."""
    return views.reshape(-1, *views.shape[2:])  # [B V, ...]


def by_view(rows: Array, count: int) -> Array:
    """Rows [B V, ...] as [V, B, ...], the inverse of ``as_one_batch`` with the views in front."""
    return jnp.moveaxis(rows.reshape(-1, count, *rows.shape[1:]), 1, 0)  # [V, B, ...]

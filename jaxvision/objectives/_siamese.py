"""What the methods that compare views of an image share: reading the views, an encoder with its heads in a row, the figure of collapse."""

import inspect
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxvision import losses
from jaxvision.core import Aux, Carry, Objective, fold_name, unchanged
from jaxvision.losses._directions import unit_rows
from jaxvision.objectives import _modules
from jaxvision.typing import Array, Batch, Features, Key, at_least_float32


def read_views(batch: Batch, method: str, *, recipe: str) -> Array:
    """The two views [B, 2, H, W, C] of every image, as float. Raises ValueError where they are missing or not two, naming the recipe."""
    (views,) = _modules.read(batch, method, "views", recipe=recipe)
    if views.ndim != 5 or views.shape[1] != 2:
        raise ValueError(f"views: found shape {views.shape}, {method} expects two views an image, [B, 2, H, W, C]; {recipe} makes them")
    return views


def _pooled(features: Features | Array) -> Array:
    pooled = features if isinstance(features, jax.Array) else getattr(features, "pooled", None)
    if pooled is None or pooled.ndim != 2:
        found = type(features).__name__ if pooled is None else f"pooled features of shape {pooled.shape}"
        raise ValueError(f"encoder: found {found} from features(image), expected Features with pooled [B, D]")
    return pooled


def start_all(key: Key, encoder, image: Array, *, given: Mapping = {}, **heads) -> tuple[dict, dict]:
    """(parameters, running statistics) by module name of an encoder and the heads behind it, each of which reads what the one before gives.

    Modules without statistics have no entry among them.
    """
    params, stats = {}, {}
    params["encoder"], stats["encoder"] = _modules.start_encoder(key, encoder, image, given=given)
    rows = jax.eval_shape(lambda: embed(encoder, params, stats, image[:1], key=key)[0])
    for name, head in heads.items():
        params[name], stats[name] = _modules.start(name, head, key, jnp.zeros(rows.shape, rows.dtype), given=given, train=False)
        rows = jax.eval_shape(lambda name=name, head=head, rows=rows: project(name, head, params, stats, jnp.zeros(rows.shape), key=key)[0])
    return params, {name: moved for name, moved in stats.items() if moved}


def embed(encoder, params: dict, stats: dict, image: Array, *, key: Key) -> tuple[Array, dict]:
    """(pooled features [B, D], running statistics by module name after it) of images [B, H, W, C], in training mode.

    An encoder whose class has a method ``pooled(image, *, train)``, for these alone, is asked for it: a ViT then computes less.
    """
    method = "pooled" if inspect.isfunction(getattr(type(encoder), "pooled", None)) else "features"
    features, moved = _modules.apply(encoder, params["encoder"], stats.get("encoder", {}), image, key=key, method=method)
    return _pooled(features), _modules.with_stats(stats, "encoder", moved)


def project(name: str, head, params: dict, stats: dict, rows: Array, *, key: Key):
    """(outputs, running statistics by module name after it) of the head called ``name``, in training mode."""
    outputs, moved = _modules.apply(head, params[name], stats.get(name, {}), rows, key=key)
    return outputs, _modules.with_stats(stats, name, moved)


def unit(rows: Array) -> Array:
    """Rows [..., D] at unit length, in at least float32."""
    return unit_rows(at_least_float32(rows))


def without_drop(encoder):
    """The encoder as a teacher has it: no dropout and no stochastic depth, though its batch statistics are those of training."""
    return encoder.clone(**{name: 0.0 for name in ("drop_rate", "drop_path_rate") if hasattr(encoder, name)})


def spread(pooled: Array) -> Array:
    """The effective rank of one view's features [B, D] in the global batch; no gradient."""
    return losses.effective_rank(jax.lax.stop_gradient(pooled))


def paired(method: str, encoder, loss: Callable, projector, *, recipe: str = "jv.augment.simclr()") -> Objective:
    """An encoder and a projector behind it, both views as one batch, under ``loss(z1, z2, batch) -> (scalar, metrics)``; no memory.

    Modules: ``encoder``, ``projector``. Metrics: ``rank`` of the features, and the loss's own.
    """
    _modules.check_encoder(encoder)

    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        _modules.check_given(method, given, "encoder", "projector")
        views = read_views(batch, method, recipe=recipe)
        params, stats = start_all(key, encoder, views[:, 0], given=given, projector=projector)
        return params, Carry(stats, {})

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        image = _modules.as_one_batch(read_views(batch, method, recipe=recipe))
        key = fold_name(key, "student")
        pooled, stats = embed(encoder, params, carry.stats, image, key=key)
        rows, stats = project("projector", projector, params, stats, pooled, key=key)
        total, metrics = loss(*_modules.by_view(rows, 2), batch)
        metrics = {"loss": total, "rank": spread(_modules.by_view(pooled, 2)[0])} | metrics
        return total, Aux(Carry(stats, carry.memory), metrics)

    return Objective(init, value, unchanged)

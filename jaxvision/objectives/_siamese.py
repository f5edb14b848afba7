"""Shared by the methods that compare two views of an image: reading the views, an encoder followed by heads, and the effective rank."""

import inspect
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvision import losses
from jaxvision.core import Aux, Carry, Objective, fold_name, unchanged
from jaxvision.objectives import _modules
from jaxvision.typing import Array, Batch, Features, Key

RECIPE = "jv.augment.simclr()"  # what makes the two views, unless a method says otherwise


def read_views(batch: Batch, method: str, *, recipe: str = RECIPE) -> Array:
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


def embed(encoder: nn.Module, params: dict, stats: dict, image: Array, *, key: Key) -> tuple[Array, dict]:
    """(pooled features [B, D], new running statistics by module name) of images [B, H, W, C], in training mode.

    Calls ``pooled(image, train=)`` where the encoder's class has it, else ``features``: a ViT then computes only its class token in the
    last block.
    """
    method = "pooled" if inspect.isfunction(getattr(type(encoder), "pooled", None)) else "features"
    features, moved = _modules.apply(encoder, params["encoder"], stats.get("encoder", {}), image, key=key, method=method)
    return _pooled(features), _modules.with_stats(stats, "encoder", moved)


def project(name: str, head, params: dict, stats: dict, rows: Array, *, key: Key):
    """(outputs, new running statistics by module name) of the head ``name``, in training mode."""
    outputs, moved = _modules.apply(head, params[name], stats.get(name, {}), rows, key=key)
    return outputs, _modules.with_stats(stats, name, moved)


def start_all(key: Key, encoder: nn.Module, image: Array, *, given: Mapping = {}, **heads) -> tuple[dict, dict]:
    """(parameters, running statistics) by module name of an encoder and the heads behind it; each head reads the outputs of the one before.

    Modules without running statistics have no entry among them.
    """
    params, stats = {}, {}
    params["encoder"], stats["encoder"] = _modules.start_encoder(key, encoder, image, given=given)
    rows = jax.eval_shape(lambda: embed(encoder, params, stats, image[:1], key=key)[0])
    for name, head in heads.items():
        params[name], stats[name] = _modules.start(name, head, key, jnp.zeros(rows.shape, rows.dtype), given=given, train=False)
        rows = jax.eval_shape(lambda name=name, head=head, rows=rows: project(name, head, params, stats, jnp.zeros(rows.shape), key=key)[0])
    return params, {name: moved for name, moved in stats.items() if moved}


def first_view_rank(pooled: Array) -> Array:
    """The effective rank of the first view's features, of [B 2, D] in the order of ``as_one_batch``; no gradient."""
    return losses.effective_rank(jax.lax.stop_gradient(_modules.by_view(pooled, 2)[0]))


def siamese(method: str, encoder: nn.Module, loss: Callable, **heads) -> Objective:
    """An objective of two views: both run through ``encoder`` and then ``heads`` as one batch; ``loss`` compares the outputs of the heads.

    ``loss(*outputs, batch) -> (scalar, metrics)``: for every head its outputs by view, [2, B, D]. Modules: ``encoder`` and the names of the
    heads; no memory. Metrics: ``rank`` of the features, and those of the loss.
    """
    _modules.check_encoder(encoder)

    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        _modules.check_given(method, given, "encoder", *heads)
        views = read_views(batch, method)
        params, stats = start_all(key, encoder, views[:, 0], given=given, **heads)
        return params, Carry(stats, {})

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        image = _modules.as_one_batch(read_views(batch, method))
        key = fold_name(key, "student")
        pooled, stats = embed(encoder, params, carry.stats, image, key=key)
        rows, outputs = pooled, []
        for name, head in heads.items():
            rows, stats = project(name, head, params, stats, rows, key=key)
            outputs.append(_modules.by_view(rows, 2))
        total, metrics = loss(*outputs, batch)
        return total, Aux(Carry(stats, carry.memory), {"loss": total, "rank": first_view_rank(pooled)} | metrics)

    return Objective(init, value, unchanged)

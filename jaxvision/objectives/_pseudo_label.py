"""Pseudo-labels: where a model is sure of a picture without a label, its own answer becomes the label of a harder view."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxvision import losses
from jaxvision.core import Aux, Carry, Objective, fold_name, unchanged
from jaxvision.objectives import _modules
from jaxvision.typing import Array, Batch, Key

_RECIPE = 'jv.data.together(source, unlabelled=(other, 7)) with jv.augment.on("unlabelled", jv.augment.views(weak, strong))'


def _read(batch: Batch) -> tuple[Array, Array, Array]:
    """(image [B, H, W, C], label [B], views [U, 2, H, W, C])."""
    (image,) = _modules.read(batch, "pseudo_label", "image", recipe="a source with labels")
    labels = _modules.read_labels(batch, "pseudo_label")
    unlabelled = batch.get("unlabelled", {})
    if "views" not in unlabelled:
        found = ", ".join(sorted(unlabelled)) or "no such stream"
        raise ValueError(f"batch: pseudo_label reads 'views' of 'unlabelled', found {found}; {_RECIPE} makes them")
    (views,) = _modules.read(unlabelled, "pseudo_label", "views", recipe=_RECIPE)
    if views.ndim != 5 or views.shape[1] != 2 or views.shape[2:] != image.shape[1:]:
        expected = ", ".join(map(str, image.shape[1:]))
        raise ValueError(f"unlabelled views: found shape {views.shape}, expected a weak and a strong one of each image, [U, 2, {expected}]")
    return image, labels, views


def _dealt(image: Array, views: Array) -> Array:
    """Images and views as one batch, dealt in equal groups: everyone's global position is then the same on any number of devices."""
    groups = math.gcd(len(image), len(views))
    piles = [rows.reshape(groups, -1, *image.shape[1:]) for rows in (image, views)]  # [groups, n, H, W, C]
    return jnp.concatenate(piles, axis=1).reshape(-1, *image.shape[1:])


def _taken_up(logits: Array, labelled: int, unlabelled: int) -> tuple[Array, Array, Array]:
    """The inverse of ``_dealt`` on logits: labelled [B, K], weak [U, K], strong [U, K]."""
    groups = math.gcd(labelled, unlabelled)
    dealt = logits.reshape(groups, -1, logits.shape[-1])
    views = dealt[:, labelled // groups :].reshape(unlabelled, 2, -1)
    return dealt[:, : labelled // groups].reshape(labelled, -1), views[:, 0], views[:, 1]


def pseudo_label(model, *, threshold: float = 0.95, weight: float = 1.0) -> Objective:
    """Pseudo-labels with a confidence threshold (Sohn et al., "FixMatch", 2020).

    ``model``: a Linen module with ``model(image [B, H, W, C], *, train) -> logits [B, K]``. Reads ``image`` and ``label`` [B], and in
    ``batch["unlabelled"]`` the ``views`` [U, 2, H, W, C] of other pictures, a weak and a strong one, of any number U: the cross-entropy of
    the labels plus ``weight`` times that of the strong views against the weak ones' answers, a mean over those whose probability reaches
    ``threshold`` (the paper divides by all U).
    All pass the model as one batch, whose statistics BatchNorm sees.

    Module: ``model``. Metrics: ``top1`` of the labelled, ``confident`` (the share of weak views that are), ``pseudo`` (their loss).
    Raises ValueError where something is missing, naming what makes it, for a threshold outside [0, 1] and a negative weight.
    """
    _modules.check_model("model", model)
    _modules.from_zero_to_one(threshold=threshold)
    _modules.not_below_zero(weight=weight)

    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        _modules.check_given("pseudo_label", given, "model")
        params, stats = _modules.start("model", model, key, _read(batch)[0][:1], given=given)
        return {"model": params}, Carry(_modules.with_stats({}, "model", stats), {})

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        image, labels, views = _read(batch)
        stats, key = carry.stats.get("model", {}), fold_name(key, "dropout")
        logits, moved = _modules.apply(model, params["model"], stats, _dealt(image, views), key=key)
        own, weak, strong = _taken_up(logits, len(image), len(views))
        supervised, pseudo = losses.cross_entropy(own, labels), losses.pseudo_label(weak, strong, threshold=threshold)
        total = supervised + weight * pseudo
        sure = jnp.max(jax.nn.softmax(weak.astype(jnp.float32)), axis=-1) >= threshold
        metrics = {
            "loss": total,
            "pseudo": pseudo,
            "confident": jnp.mean(sure.astype(jnp.float32)),
            "top1": _modules.top1(own, labels),
        }
        return total, Aux(Carry(_modules.with_stats(carry.stats, "model", moved), carry.memory), metrics)

    return Objective(init, value, unchanged)

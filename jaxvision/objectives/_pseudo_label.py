"""Pseudo-labels: a confident prediction for a weakly augmented image becomes the label of its strongly augmented view."""

import math
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvision import checks, losses
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
        found = ", ".join(sorted(unlabelled)) or "nothing"
        raise ValueError(f"batch: pseudo_label reads 'views' of 'unlabelled', found {found}; {_RECIPE} makes them")
    (views,) = _modules.read(unlabelled, "pseudo_label", "views", recipe=_RECIPE)
    if views.ndim != 5 or views.shape[1] != 2 or views.shape[2:] != image.shape[1:]:
        expected = ", ".join(map(str, image.shape[1:]))
        raise ValueError(f"unlabelled views: found shape {views.shape}, expected a weak and a strong one of each image, [U, 2, {expected}]")
    return image, labels, views


def _interleave(image: Array, views: Array) -> Array:
    """Images and views as one batch, in equal groups of both, so that global positions are the same on any number of devices."""
    groups = math.gcd(len(image), len(views))
    parts = [rows.reshape(groups, -1, *image.shape[1:]) for rows in (image, views)]  # [groups, n, H, W, C]
    return jnp.concatenate(parts, axis=1).reshape(-1, *image.shape[1:])


def _separate(logits: Array, labelled: int, unlabelled: int) -> tuple[Array, Array, Array]:
    """The inverse of ``_interleave`` on logits: labelled [B, K], weak [U, K], strong [U, K]."""
    groups = math.gcd(labelled, unlabelled)
    grouped = logits.reshape(groups, -1, logits.shape[-1])
    views = grouped[:, labelled // groups :].reshape(unlabelled, 2, -1)
    return grouped[:, : labelled // groups].reshape(labelled, -1), views[:, 0], views[:, 1]


def pseudo_label(model: nn.Module, *, threshold: float = 0.95, weight: float = 1.0) -> Objective:
    """Pseudo-labels with a confidence threshold (FixMatch).

        L = cross_entropy(model(image), label) + weight pseudo_label(model(weak), model(strong), threshold)

    Reads ``image`` and ``label`` [B], and in ``batch["unlabelled"]`` the ``views`` [U, 2, H, W, C], a weak and a strong one, of any
    number U of other images. ``model``: a Linen module with ``model(image [B, H, W, C], *, train) -> logits [B, K]``. ``threshold``:
    the probability from which a weak view is confident; the second term is a mean over the confident ones (the paper divides by U). All
    images pass the model as one batch, so that BatchNorm sees them all. Module: ``model``. Metrics: ``top1`` of the labelled images,
    ``confident`` (the share of weak views that are), ``pseudo`` (the second term without its weight).

    Raises ValueError for a threshold not from 0 to 1, a negative weight, and where the batch lacks what is read.
    Source: Sohn et al., "FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence", 2020.

    >>> import jaxvision as jv  # slow
    >>> import jax, jax.numpy as jnp
    >>> objective, images = jv.objectives.pseudo_label(jv.create_model("lenet5", num_classes=3)), jnp.zeros((2, 32, 32, 1))
    >>> batch = {"image": images, "label": jnp.zeros(2, int), "unlabelled": {"views": jnp.zeros((6, 2, 32, 32, 1))}}
    >>> params, carry = objective.init(jax.random.key(0), batch)
    >>> sorted(objective.loss(params, carry, batch, key=jax.random.key(1), step=0)[1].metrics)
    ['confident', 'loss', 'pseudo', 'top1']
    """
    _modules.check_model("model", model)
    checks.fraction(threshold=threshold)
    checks.not_negative(weight=weight)

    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        _modules.check_given("pseudo_label", given, "model")
        params, stats = _modules.start("model", model, key, _read(batch)[0][:1], given=given)
        return {"model": params}, Carry(_modules.with_stats({}, "model", stats), {})

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        image, labels, views = _read(batch)
        stats, key = carry.stats.get("model", {}), fold_name(key, "dropout")
        logits, moved = _modules.apply(model, params["model"], stats, _interleave(image, views), key=key)
        own, weak, strong = _separate(logits, len(image), len(views))
        supervised, pseudo = losses.cross_entropy(own, labels), losses.pseudo_label(weak, strong, threshold=threshold)
        total = supervised + weight * pseudo
        confident = jnp.max(jax.nn.softmax(weak.astype(jnp.float32)), axis=-1) >= threshold
        metrics = {
            "loss": total,
            "pseudo": pseudo,
            "confident": jnp.mean(confident.astype(jnp.float32)),
            "top1": _modules.top1(own, labels),
        }
        return total, Aux(Carry(_modules.with_stats(carry.stats, "model", moved), carry.memory), metrics)

    return Objective(init, value, unchanged)

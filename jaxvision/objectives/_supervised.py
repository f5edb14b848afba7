"""Supervised learning: a classifier, its labels, and any loss between them."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax

from jaxvision import losses
from jaxvision.core import Aux, Carry, Objective, fold_name, unchanged
from jaxvision.objectives import _modules
from jaxvision.typing import Array, Batch, Key


def _metrics(loss: Callable, logits: Array, labels: Array) -> dict[str, Array]:
    if loss is losses.binary_cross_entropy:
        return {"map": losses.mean_average_precision(logits, labels)}
    return {"top1": _modules.top1(logits, labels)} if logits.ndim == 2 and (labels.ndim == 1 or labels.shape == logits.shape) else {}


def _read(batch: Batch) -> tuple[Array, Array]:
    (image,) = _modules.read(batch, "supervised", "image", recipe="a source with labels")
    return image, _modules.read_labels(batch, "supervised")


def _only_head(params: dict) -> dict:
    """The parameters, with a gradient to the head alone. Raises ValueError where there is no head."""
    if "head" not in params:
        raise ValueError(f"model: found {', '.join(params)}, expected a head to train: a classifier with num_classes above 0")
    return jax.lax.stop_gradient(params) | {"head": params["head"]}


def supervised(
    model: nn.Module, *, loss: Callable = losses.cross_entropy, auxiliary_weight: float = 0.3, frozen: bool = False, **options: Any
) -> Objective:
    """A classifier trained on labels.

        L = loss(logits, label, **options) + auxiliary_weight sum_a loss(a, label, **options), with a the auxiliary logits

    Reads ``image`` and ``label``: whatever the loss reads, [B] integers, or [B, K] one-hot, soft (mixup, cutmix) or multi-label.
    ``model``: a Linen module with ``model(image [B, H, W, C], *, train) -> logits [B, K]``. ``loss``: ``(logits, labels) -> scalar``;
    ``options``, such as ``label_smoothing`` or ``class_weights``, go to it by name. Auxiliary logits are those that the model sows into
    ``auxiliary`` in training. ``frozen``: a linear probe. The model runs as in evaluation and only its ``head`` gets a gradient;
    ``jv.train.freeze`` keeps weight decay away from the rest. Module: ``model``. Metrics: ``top1``, or ``map`` (mean average precision
    of the batch) under ``binary_cross_entropy``.

    Raises ValueError where the batch has no image or label.
    Source: Szegedy et al., "Going Deeper with Convolutions", 2014, section 5 (auxiliary weight 0.3).

    >>> import jaxvision as jv  # slow
    >>> import jax, jax.numpy as jnp
    >>> objective = jv.objectives.supervised(jv.create_model("lenet5", num_classes=3), label_smoothing=0.1)
    >>> batch = {"image": jnp.zeros((4, 32, 32, 1)), "label": jnp.zeros(4, int)}
    >>> params, carry = objective.init(jax.random.key(0), batch)
    >>> sorted(objective.loss(params, carry, batch, key=jax.random.key(1), step=0)[1].metrics)
    ['loss', 'top1']
    """
    _modules.check_model("model", model)

    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        _modules.check_given("supervised", given, "model")
        image, _ = _read(batch)
        params, stats = _modules.with_given("model", jax.jit(model.init)(key, image[:1]), given)
        return {"model": params}, Carry(_modules.with_stats({}, "model", stats), {})

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        image, labels = _read(batch)
        own = _only_head(params["model"]) if frozen else params["model"]
        variables = {"params": own} | ({"batch_stats": carry.stats["model"]} if "model" in carry.stats else {})
        logits, sown = model.apply(
            variables, image, train=not frozen, mutable=["batch_stats", "auxiliary"], rngs={"dropout": fold_name(key, "dropout")}
        )
        total = loss(logits, labels, **options)
        for auxiliary in jax.tree.leaves(sown.get("auxiliary", {})):
            total = total + auxiliary_weight * loss(auxiliary, labels, **options)
        stats = carry.stats | ({"model": sown["batch_stats"]} if "model" in carry.stats else {})
        return total, Aux(Carry(stats, carry.memory), {"loss": total} | _metrics(loss, logits, labels))

    return Objective(init, value, unchanged)

"""Knowledge distillation: a model learns from another's logits, and from labels where there are any."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxvision import losses
from jaxvision.core import Aux, Carry, Objective, fold_name, unchanged
from jaxvision.objectives import _modules
from jaxvision.typing import Array, Batch, Key


def _frozen(variables: Mapping) -> dict:
    """The teacher's parameters and statistics as arrays."""
    if not variables.get("params"):
        found = "params without an entry" if "params" in variables else ", ".join(sorted(variables)) or "nothing"
        raise ValueError(f'teacher_variables: found {found}, expected {{"params": ..., "batch_stats": ...}} as jv.weights.load gives them')
    return {name: jax.tree.map(jnp.asarray, dict(variables[name])) for name in ("params", "batch_stats") if name in variables}


def _mixture(student: Array, teacher: Array, batch: Batch, *, temperature: float, weight: float) -> tuple[Array, dict]:
    """(weight x distillation + (1 - weight) x cross-entropy, metrics)."""
    soft = losses.knowledge_distillation(student, teacher, temperature=temperature)
    total, metrics = weight * soft, {"distillation": soft, "agreement": _modules.top1(student, teacher)}
    if weight < 1:
        total = total + (1 - weight) * losses.cross_entropy(student, batch["label"])
    if "label" in batch:
        metrics["top1"] = _modules.top1(student, batch["label"])
    return total, {"loss": total} | metrics


def distill(model, teacher, teacher_variables: Mapping, *, temperature: float = 4.0, weight: float = 0.9) -> Objective:
    """Distillation of ``teacher`` into ``model`` (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015).

    Both are Linen modules with ``model(image [B, H, W, C], *, train) -> logits [B, K]``; ``teacher_variables`` is what
    ``teacher.apply`` takes. Reads ``image`` and, where ``weight`` is below 1, ``label``: ``weight`` times T^2 KL(teacher || model) at
    temperature T, 1 - ``weight`` times the cross-entropy. The teacher is frozen, in evaluation mode, and lies in memory (and so in
    checkpoints); both see the same augmented image. Logits that the model sows into ``auxiliary`` are not taught.

    Module: ``model``. Metrics: ``distillation``, ``agreement`` (with the teacher's choice), ``top1`` where there are labels. Raises
    ValueError where the batch lacks what is read, for variables without params, and for options that cannot be.
    """
    _modules.check_model("model", model)
    _modules.check_model("teacher", teacher)
    _modules.above_zero(temperature=temperature)
    _modules.from_zero_to_one(weight=weight)
    frozen = _frozen(teacher_variables)

    def read(batch: Batch) -> Array:
        (image,) = _modules.read(batch, "distill", "image", recipe="any image source")
        if weight < 1:
            _modules.read_labels(batch, "distill", otherwise=", or weight=1.0")
        return image

    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        _modules.check_given("distill", given, "model")
        params, stats = _modules.start("model", model, key, read(batch)[:1], given=given)
        return {"model": params}, Carry(_modules.with_stats({}, "model", stats), {"teacher": frozen})

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        image = read(batch)
        target = jax.lax.stop_gradient(teacher.apply(jax.lax.stop_gradient(carry.memory["teacher"]), image, train=False))
        logits, moved = _modules.apply(model, params["model"], carry.stats.get("model", {}), image, key=fold_name(key, "dropout"))
        total, metrics = _mixture(logits, target, batch, temperature=temperature, weight=weight)
        return total, Aux(Carry(_modules.with_stats(carry.stats, "model", moved), carry.memory), metrics)

    return Objective(init, value, unchanged)

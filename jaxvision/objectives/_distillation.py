"""Knowledge distillation: a model learns from a teacher's logits, and from labels."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvision import checks, losses
from jaxvision.core import Aux, Carry, Objective, fold_name, unchanged
from jaxvision.objectives import _modules
from jaxvision.typing import Array, Batch, Key


def _frozen(variables: Mapping) -> dict:
    """The teacher's parameters and running statistics as arrays. Raises ValueError where there are no parameters."""
    if not variables.get("params"):
        found = "params without an entry" if "params" in variables else ", ".join(sorted(variables)) or "nothing"
        raise ValueError(f'teacher_variables: found {found}, expected {{"params": ..., "batch_stats": ...}} as jv.weights.load returns it')
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


def distill(
    model: nn.Module, teacher: nn.Module, teacher_variables: Mapping, *, temperature: float = 4.0, weight: float = 0.9
) -> Objective:
    """Distillation of ``teacher`` into ``model``.

        L = weight T^2 KL(softmax(teacher / T) || softmax(model / T)) + (1 - weight) cross_entropy(model, label), T the temperature

    Reads ``image`` and, where ``weight`` is below 1, ``label``. Both networks are Linen modules with ``model(image [B, H, W, C], *,
    train) -> logits [B, K]``; ``teacher_variables`` is what ``teacher.apply`` takes. The teacher is frozen, in evaluation mode, and
    part of memory, and so of checkpoints. Both see the same augmented image. Logits that the model sows into ``auxiliary`` are not
    trained. Module: ``model``. Metrics: ``distillation`` (the first term), ``agreement`` (share of images with the teacher's class),
    ``top1`` where there are labels.

    Raises ValueError for variables without params, options out of range, and where the batch lacks what is read.
    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015.

    >>> import jaxvision as jv  # slow
    >>> import jax, jax.numpy as jnp
    >>> model, batch = jv.create_model("lenet5", num_classes=3), {"image": jnp.zeros((2, 32, 32, 1))}
    >>> teacher = model.init(jax.random.key(0), batch["image"])
    >>> params, carry = jv.objectives.distill(model, model, teacher, weight=1.0).init(jax.random.key(1), batch)
    >>> sorted(params), sorted(carry.memory)
    (['model'], ['teacher'])
    """
    _modules.check_model("model", model)
    _modules.check_model("teacher", teacher)
    checks.positive(temperature=temperature)
    checks.fraction(weight=weight)
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

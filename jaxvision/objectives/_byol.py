"""Bootstrapping: a student predicts what its own moving average sees in the other view, without a single negative."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxvision import losses
from jaxvision.core import Aux, Carry, Objective, fold_name
from jaxvision.layers import Projector
from jaxvision.objectives import _modules, _siamese
from jaxvision.typing import Array, Batch, Key

_RECIPE = "jv.augment.simclr()"
_TAUGHT = ("encoder", "projector")  # what the teacher has; the predictor is the student's alone


def byol(encoder, *, momentum: float | Callable = 0.996, hidden: int = 4096, projection: int = 256) -> Objective:
    """BYOL (Grill et al., "Bootstrap Your Own Latent", 2020) of ``batch["views"]`` [B, 2, H, W, C].

    ``encoder``: a Linen module whose ``features(image, train=)`` gives pooled [B, D]. ``momentum`` of the teacher: a number or a schedule
    of ``step`` (the paper: ``jv.train.cosine(0.996, 1.0, steps)``). ``hidden``, ``projection``: widths of projector and predictor. The loss
    is the sum over both directions; a net sees both views as one batch. The teacher runs in training mode, with running statistics of
    its own, without dropout and stochastic depth.

    Modules: ``encoder``, ``projector``, ``predictor``; memory: ``teacher`` (encoder, projector), ``stats`` (its statistics). Metrics:
    ``teacher_distance``, ``rank`` of the features. Raises ValueError where the views are missing, and for options that cannot be.
    """
    _modules.check_encoder(encoder)
    _modules.positive(hidden=hidden, projection=projection)
    _modules.from_zero_to_one(**_modules.constant(momentum=momentum))
    dtype, teacher = getattr(encoder, "dtype", None), _siamese.without_drop(encoder)
    projector, predictor = Projector(projection, hidden, dtype=dtype), Projector(projection, hidden, dtype=dtype)

    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        _modules.check_given("byol", given, "encoder", "projector", "predictor")
        views = _siamese.read_views(batch, "byol", recipe=_RECIPE)
        params, stats = _siamese.start_all(key, encoder, views[:, 0], given=given, projector=projector, predictor=predictor)
        memory = {"teacher": _modules.of_modules(params, _TAUGHT), "stats": _modules.of_modules(stats, _TAUGHT)}
        return params, Carry(stats, jax.tree.map(jnp.copy, memory))

    def targets(memory: dict, image: Array, key: Key) -> tuple[Array, dict]:
        pooled, stats = _siamese.embed(teacher, memory["teacher"], memory["stats"], image, key=key)
        return jax.lax.stop_gradient(_siamese.project("projector", projector, memory["teacher"], stats, pooled, key=key))

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        image = _modules.as_one_batch(_siamese.read_views(batch, "byol", recipe=_RECIPE))
        memory = jax.lax.stop_gradient(carry.memory)
        key_student = fold_name(key, "student")
        pooled, stats = _siamese.embed(encoder, params, carry.stats, image, key=key_student)
        rows, stats = _siamese.project("projector", projector, params, stats, pooled, key=key_student)
        rows, stats = _siamese.project("predictor", predictor, params, stats, rows, key=key_student)
        target, teacher_stats = targets(memory, image, fold_name(key, "teacher"))
        (prediction1, prediction2), (target1, target2) = _modules.by_view(rows, 2), _modules.by_view(target, 2)
        total = losses.byol(prediction1, target2) + losses.byol(prediction2, target1)
        metrics = {
            "loss": total,
            "teacher_distance": _modules.apart(memory["teacher"], jax.lax.stop_gradient(_modules.of_modules(params, _TAUGHT))),
            "rank": _siamese.spread(_modules.by_view(pooled, 2)[0]),
        }
        return total, Aux(Carry(stats, memory | {"stats": teacher_stats}), metrics)

    def after(params: dict, carry: Carry, step: Array) -> Carry:
        student = _modules.of_modules(params, _TAUGHT)
        moved = _modules.moving_average(carry.memory["teacher"], student, _modules.at(momentum, step))
        return carry._replace(memory=carry.memory | {"teacher": moved})

    return Objective(init, value, after)

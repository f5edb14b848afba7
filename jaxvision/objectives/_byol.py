"""BYOL: the student predicts what its teacher, a moving average of itself, computes from the other view."""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax

from jaxvision import checks, losses
from jaxvision.core import Aux, Carry, Objective, fold_name
from jaxvision.layers import Projector
from jaxvision.objectives import _modules, _siamese, _teacher
from jaxvision.typing import Array, Batch, Key

_TEACHER_MODULES = ("encoder", "projector")  # the predictor is the student's alone


def byol(encoder: nn.Module, *, momentum: float | Callable = 0.996, hidden: int = 4096, projection: int = 256) -> Objective:
    """BYOL of two views: ``jv.losses.byol`` between the student's predictions and the teacher's projections.

        L = byol(q(z1), z2') + byol(q(z2), z1'), with z the student's and z' the teacher's projections of both views, q the predictor

    Reads ``views`` [B, 2, H, W, C], which ``jv.augment.simclr()`` makes. ``encoder``: a Linen module whose ``features(image, train=)``
    gives pooled [B, D]. ``momentum`` of the teacher: a number or a schedule of ``step`` (the paper: ``jv.train.cosine(0.996, 1.0,
    steps)``). ``hidden``, ``projection``: widths of projector and predictor. Both views pass a network as one batch. The teacher runs
    in training mode, with running statistics of its own, without dropout and stochastic depth.

    Modules: ``encoder``, ``projector``, ``predictor``; memory: ``teacher`` (encoder, projector), ``stats`` (its running statistics).
    Metrics: ``teacher_distance`` (relative norm of teacher - student), ``rank`` (the effective rank of the features).

    Raises ValueError for sizes below 1 or a momentum not from 0 to 1, and where the views are missing.
    Source: Grill et al., "Bootstrap Your Own Latent", 2020.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> objective = jv.objectives.byol(jv.create_model("lenet5", num_classes=0), hidden=16, projection=8)
    >>> params, carry = objective.init(jax.random.key(0), {"views": jax.numpy.zeros((4, 2, 32, 32, 1))})
    >>> sorted(params), sorted(carry.memory["teacher"])
    (['encoder', 'predictor', 'projector'], ['encoder', 'projector'])
    """
    _modules.check_encoder(encoder)
    checks.counts(hidden=hidden, projection=projection)
    checks.fraction(**_modules.constants(momentum=momentum))
    dtype, teacher = getattr(encoder, "dtype", None), _teacher.without_drop(encoder)
    projector, predictor = Projector(projection, hidden, dtype=dtype), Projector(projection, hidden, dtype=dtype)

    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        _modules.check_given("byol", given, "encoder", "projector", "predictor")
        views = _siamese.read_views(batch, "byol")
        params, stats = _siamese.start_all(key, encoder, views[:, 0], given=given, projector=projector, predictor=predictor)
        return params, Carry(stats, _teacher.start(params, stats, _TEACHER_MODULES))

    def targets(memory: dict, image: Array, key: Key) -> tuple[Array, dict]:
        pooled, stats = _siamese.embed(teacher, memory["teacher"], memory["stats"], image, key=key)
        return jax.lax.stop_gradient(_siamese.project("projector", projector, memory["teacher"], stats, pooled, key=key))

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        image = _modules.as_one_batch(_siamese.read_views(batch, "byol"))
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
            "teacher_distance": _teacher.distance(memory, params, _TEACHER_MODULES),
            "rank": _siamese.first_view_rank(pooled),
        }
        return total, Aux(Carry(stats, memory | {"stats": teacher_stats}), metrics)

    def after(params: dict, carry: Carry, step: Array) -> Carry:
        return _teacher.update(params, carry, _TEACHER_MODULES, momentum, step)

    return Objective(init, value, after)

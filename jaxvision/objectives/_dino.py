"""DINO: for every view of an image, the student predicts its teacher's distribution over prototypes for the large views."""

import functools
import math
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvision import checks, losses
from jaxvision.core import Aux, Carry, Objective, fold_name
from jaxvision.layers import PrototypeHead
from jaxvision.losses._numerics import unit_rows
from jaxvision.objectives import _modules, _siamese, _teacher
from jaxvision.typing import Array, Batch, Key, at_least_float32

_RECIPE = "jv.augment.dino()"
_LAST_LAYER = "prototypes"
_MODULES = ("encoder", "head")  # of student and teacher


def _view_groups(batch: Batch) -> list[Array]:
    """The views [B, 2, H, W, C] and, where there are any, the crops [B, L, h, w, C]. Each group is one forward pass."""
    views = _siamese.read_views(batch, "dino", recipe=_RECIPE)
    if "crops" not in batch:
        return [views]
    (crops,) = _modules.read(batch, "dino", "crops", recipe=_RECIPE)
    if crops.ndim != 5 or len(crops) != len(views) or 0 in crops.shape:
        expected = f"[{len(views)}, L, h, w, C] of the images of views, L at least 1, or no entry crops"
        raise ValueError(f"crops: found shape {crops.shape}, expected {expected}")
    return [views, crops]


def _freeze_last_layer(params: dict, frozen: Array) -> dict:
    """The same parameters; while ``frozen``, the prototypes get no gradient."""
    prototypes = params["head"][_LAST_LAYER]
    return params | {"head": params["head"] | {_LAST_LAYER: jnp.where(frozen, jax.lax.stop_gradient(prototypes), prototypes)}}


def _head(encoder: nn.Module, freeze_steps: int, *, prototypes: int, hidden: int, bottleneck: int, batch_norm: bool) -> PrototypeHead:
    """The head. Raises ValueError for options that are out of range."""
    _modules.check_encoder(encoder)
    checks.counts(prototypes=prototypes, hidden=hidden, bottleneck=bottleneck)
    checks.not_negative(freeze_steps=freeze_steps)
    return PrototypeHead(prototypes, hidden, bottleneck, getattr(encoder, "dtype", None), batch_norm)


def _start(encoder: nn.Module, head: PrototypeHead, key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
    _modules.check_given("dino", given, *_MODULES)
    params, stats = _siamese.start_all(key, encoder, _view_groups(batch)[0][:, 0], given=given, head=head)
    return params, Carry(stats, _teacher.start(params, stats, _MODULES) | {"center": jnp.zeros(head.count, jnp.float32)})


def _forward(encoder: nn.Module, head: PrototypeHead, params: dict, stats: dict, groups: list[Array], *, key: Key):
    """(pooled features of the first view [B, D], (unit embeddings [V, B, d], prototypes [K, d]), running statistics) of all views."""
    pooled = []
    for index, group in enumerate(groups):
        rows, stats = _siamese.embed(encoder, params, stats, _modules.as_one_batch(group), key=jax.random.fold_in(key, index))
        pooled.append(_modules.by_view(rows, group.shape[1]))  # [V, B, D]
    (embeddings, prototypes), stats = _siamese.project("head", head, params, stats, jnp.concatenate(pooled), key=key)
    return pooled[0][0], (unit_rows(embeddings), at_least_float32(prototypes)), stats


def _dino_loss(
    encoder: nn.Module, head: PrototypeHead, loss: Callable, teacher_temperature, center_momentum: float, freeze_steps: int
) -> Callable:
    """The ``loss`` of the objective, with ``loss`` already given the student's temperature."""
    teacher = _teacher.without_drop(encoder)

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        groups, memory = _view_groups(batch), jax.lax.stop_gradient(carry.memory)
        forward = _forward(teacher, head, memory["teacher"], memory["stats"], groups[:1], key=fold_name(key, "teacher"))
        _, target, teacher_stats = jax.lax.stop_gradient(forward)
        trained = _freeze_last_layer(params, step < freeze_steps) if freeze_steps else params
        pooled, student, stats = _forward(encoder, head, trained, carry.stats, groups, key=fold_name(key, "student"))
        center, temperature = memory["center"], _modules.value_at(teacher_temperature, step)
        total = loss(student[0], target[0], student[1], target[1], center, teacher_temperature=temperature)
        entropy = losses.dino_prototypes_entropy(*target, center, teacher_temperature=temperature, unit_prototypes=True)
        metrics = {
            "loss": total,
            "uniform_loss": jnp.float32(math.log(head.count)),
            "teacher_entropy": entropy,
            "teacher_distance": _teacher.distance(memory, params, _MODULES),
            "rank": losses.effective_rank(jax.lax.stop_gradient(pooled)),
        }
        center = losses.dino_prototypes_center(center, *target, momentum=center_momentum, unit_prototypes=True)
        return total, Aux(Carry(stats, memory | {"stats": teacher_stats, "center": center}), metrics)

    return value


def dino(
    encoder: nn.Module,
    *,
    prototypes: int = 65536,
    hidden: int = 2048,
    bottleneck: int = 256,
    batch_norm: bool = False,
    momentum: float | Callable = 0.996,
    student_temperature: float = 0.1,
    teacher_temperature: float | Callable = 0.04,
    center_momentum: float = 0.9,
    freeze_steps: int = 0,
) -> Objective:
    """DINO: ``jv.losses.dino_prototypes`` between the student on all views and its teacher on the large ones.

    Reads ``views`` [B, 2, H, W, C], which student and teacher see, and ``crops`` [B, L, h, w, C], if there are any, for the student
    alone; ``jv.augment.dino()`` makes both. ``encoder``: a Linen module whose ``features(image, train=)`` gives pooled [B, D] at both
    sizes. ``prototypes``, ``hidden``, ``bottleneck``: sizes of the head; ``batch_norm``: BatchNorm in it. ``momentum`` of the teacher
    and ``teacher_temperature``: numbers or schedules of ``step``; the paper: ``jv.train.cosine(0.996, 1.0, steps)`` and, with ``epoch``
    steps an epoch, ``optax.linear_schedule(0.04, 0.07, 30 * epoch)``. ``freeze_steps``: steps without a gradient for the prototypes
    (the paper: one epoch). The teacher runs in training mode, with running statistics of its own, without dropout and stochastic depth.
    The centre moves after the loss.

    Modules: ``encoder``, ``head``; memory: ``teacher`` (both), ``stats`` (its running statistics), ``center`` [K]. Metrics:
    ``uniform_loss`` (ln K), ``teacher_entropy``, ``teacher_distance``, ``rank`` (the effective rank of the features).

    Raises ValueError for options out of range, and where views are missing or crops do not fit.
    Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> objective = jv.objectives.dino(jv.create_model("lenet5", num_classes=0), prototypes=8, hidden=16, bottleneck=4)
    >>> params, carry = objective.init(jax.random.key(0), {"views": jax.numpy.zeros((4, 2, 32, 32, 1))})
    >>> sorted(params), carry.memory["center"].shape
    (['encoder', 'head'], (8,))
    """
    head = _head(encoder, freeze_steps, prototypes=prototypes, hidden=hidden, bottleneck=bottleneck, batch_norm=batch_norm)
    checks.positive(student_temperature=student_temperature, **_modules.constants(teacher_temperature=teacher_temperature))
    checks.fraction(center_momentum=center_momentum, **_modules.constants(momentum=momentum))
    loss = functools.partial(losses.dino_prototypes, student_temperature=student_temperature, unit_prototypes=True)
    return Objective(
        functools.partial(_start, encoder, head),
        _dino_loss(encoder, head, loss, teacher_temperature, center_momentum, freeze_steps),
        lambda params, carry, step: _teacher.update(params, carry, _MODULES, momentum, step),
    )

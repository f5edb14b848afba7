"""Self-distillation: a student learns, from every view of an image, what its own moving average says of the two large ones."""

import functools
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxvision import losses
from jaxvision.core import Aux, Carry, Objective, fold_name
from jaxvision.layers import PrototypeHead
from jaxvision.objectives import _modules, _siamese
from jaxvision.typing import Array, Batch, Key, at_least_float32

_RECIPE = "jv.augment.dino()"
_LAST = "prototypes"
_MODULES = ("encoder", "head")  # the student's and the teacher's


def _groups(batch: Batch) -> list[Array]:
    """The views [B, 2, H, W, C] and, where there are any, the crops [B, L, h, w, C]: one forward pass each."""
    views = _siamese.read_views(batch, "dino", recipe=_RECIPE)
    if "crops" not in batch:
        return [views]
    (crops,) = _modules.read(batch, "dino", "crops", recipe=_RECIPE)
    if crops.ndim != 5 or len(crops) != len(views) or 0 in crops.shape:
        expected = f"[{len(views)}, L, h, w, C], smaller views of the same images, L at least 1"
        raise ValueError(f"crops: found shape {crops.shape}, expected {expected}; without crops leave the name away")
    return [views, crops]


def _held(params: dict, still: Array) -> dict:
    """The same parameters; while ``still``, no gradient reaches the prototypes."""
    free = params["head"][_LAST]
    return params | {"head": params["head"] | {_LAST: jnp.where(still, jax.lax.stop_gradient(free), free)}}


def _head(encoder, freeze_steps: int, *, prototypes: int, hidden: int, bottleneck: int, batch_norm: bool) -> PrototypeHead:
    """The head, once its sizes and the steps without a gradient for its prototypes are such as can be."""
    _modules.check_encoder(encoder)
    _modules.positive(prototypes=prototypes, hidden=hidden, bottleneck=bottleneck)
    if not freeze_steps >= 0:
        raise ValueError(f"freeze_steps: found {freeze_steps}, expected a number of steps, 0 for none")
    return PrototypeHead(prototypes, hidden, bottleneck, getattr(encoder, "dtype", None), batch_norm)


def _start(encoder, head: PrototypeHead, key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
    _modules.check_given("dino", given, *_MODULES)
    params, stats = _siamese.start_all(key, encoder, _groups(batch)[0][:, 0], given=given, head=head)
    center = jnp.zeros(head.count, jnp.float32)
    memory = {"teacher": _modules.of_modules(params, _MODULES), "stats": _modules.of_modules(stats, _MODULES), "center": center}
    return params, Carry(stats, jax.tree.map(jnp.copy, memory))


def _see(encoder, head: PrototypeHead, params: dict, stats: dict, groups: list[Array], *, key: Key):
    """(pooled features of the first view [B, D], (embeddings [V, B, d] at unit length, prototypes [K, d]), statistics): all views."""
    seen = []
    for place, group in enumerate(groups):
        rows, stats = _siamese.embed(encoder, params, stats, _modules.as_one_batch(group), key=jax.random.fold_in(key, place))
        seen.append(_modules.by_view(rows, group.shape[1]))  # [V, B, D]
    (embeddings, prototypes), stats = _siamese.project("head", head, params, stats, jnp.concatenate(seen), key=key)
    return seen[0][0], (_siamese.unit(embeddings), at_least_float32(prototypes)), stats


def _after(params: dict, carry: Carry, momentum: Array) -> Carry:
    """The teacher a little nearer to the student."""
    moved = _modules.moving_average(carry.memory["teacher"], _modules.of_modules(params, _MODULES), momentum)
    return carry._replace(memory=carry.memory | {"teacher": moved})


def dino(
    encoder,
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
    """DINO (Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021).

    Reads ``views`` [B, 2, H, W, C], which student and teacher see, and ``crops`` [B, L, h, w, C] if there are any, for the student alone.
    ``encoder``: a Linen module whose ``features(image, train=)`` gives pooled [B, D] at both sizes. ``prototypes``, ``hidden``,
    ``bottleneck``: the head's sizes; ``batch_norm``: BatchNorm in it, over all views of the global batch. ``momentum`` of the teacher and
    ``teacher_temperature``: numbers or schedules of ``step``. ``freeze_steps``: steps without a gradient for the prototypes; AdamW's decay
    then scales them alone, which changes no direction. The paper's schedules, ``epoch`` being the steps of one epoch and ``steps`` those of
    all::

        sharp = optax.linear_schedule(0.04, 0.07, 30 * epoch)
        jv.objectives.dino(encoder, momentum=jv.train.cosine(0.996, 1.0, steps), teacher_temperature=sharp, freeze_steps=epoch)

    The teacher runs in training mode, with statistics of its own, without dropout and stochastic depth; the centre moves after the loss.

    Modules: ``encoder``, ``head``; memory: ``teacher`` (both), ``stats`` (its statistics), ``center`` [K]. Metrics: ``uniform_loss``
    (ln K), ``teacher_entropy``, ``teacher_distance``, ``rank`` of the features. Raises ValueError where views are missing or crops do
    not fit, and for options that cannot be.
    """
    head = _head(encoder, freeze_steps, prototypes=prototypes, hidden=hidden, bottleneck=bottleneck, batch_norm=batch_norm)
    _modules.above_zero(student_temperature=student_temperature, **_modules.constant(teacher_temperature=teacher_temperature))
    _modules.from_zero_to_one(center_momentum=center_momentum, **_modules.constant(momentum=momentum))
    teacher = _siamese.without_drop(encoder)

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        groups, memory = _groups(batch), jax.lax.stop_gradient(carry.memory)
        taught = _see(teacher, head, memory["teacher"], memory["stats"], groups[:1], key=fold_name(key, "teacher"))
        _, (target, target_prototypes), teacher_stats = jax.lax.stop_gradient(taught)
        learning = _held(params, step < freeze_steps) if freeze_steps else params
        pooled, (student, own_prototypes), stats = _see(encoder, head, learning, carry.stats, groups, key=fold_name(key, "student"))
        center, sharp = memory["center"], _modules.at(teacher_temperature, step)
        temperatures, unit = {"student_temperature": student_temperature, "teacher_temperature": sharp}, {"unit_prototypes": True}
        total = losses.dino_prototypes(student, target, own_prototypes, target_prototypes, center, **temperatures, **unit)
        metrics = {
            "loss": total,
            "uniform_loss": jnp.float32(math.log(prototypes)),
            "teacher_entropy": losses.dino_prototypes_entropy(target, target_prototypes, center, teacher_temperature=sharp, **unit),
            "teacher_distance": _modules.apart(memory["teacher"], jax.lax.stop_gradient(_modules.of_modules(params, _MODULES))),
            "rank": _siamese.spread(pooled),
        }
        center = losses.dino_prototypes_center(center, target, target_prototypes, momentum=center_momentum, **unit)
        return total, Aux(Carry(stats, memory | {"stats": teacher_stats, "center": center}), metrics)

    def after(params: dict, carry: Carry, step: Array) -> Carry:
        return _after(params, carry, _modules.at(momentum, step))

    return Objective(functools.partial(_start, encoder, head), value, after)

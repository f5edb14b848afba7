"""DINO: the student's distribution over prototypes follows that of its own moving average, over views of the same image."""

import jax
import jax.numpy as jnp

from jaxvision import axis
from jaxvision.kernels import inverse_lengths, prototype_cross_entropy, prototype_entropy
from jaxvision.losses._numerics import EXACT, above_zero, alike, below_largest, from_zero_to_one, of_rank
from jaxvision.typing import Array, Float, at_least_float32


def _check(student_temperature: float | Array, teacher_temperature: float | Array) -> None:
    above_zero("student_temperature", student_temperature)
    above_zero("teacher_temperature", teacher_temperature)


def _views(names: str, student: Array, teacher: Array, letters: str) -> tuple[Array, Array]:
    student, teacher = of_rank(names.split(", ")[0], student, f"V {letters}"), of_rank(names.split(", ")[1], teacher, f"G {letters}")
    if student.shape[1:] != teacher.shape[1:] or len(student) < max(2, len(teacher)):
        expected = f"[V, {letters.replace(' ', ', ')}] and [G, {letters.replace(' ', ', ')}] with V at least 2 and G"
        raise ValueError(f"{names}: found shapes {student.shape} and {teacher.shape}, expected {expected}")
    return student, teacher


def _one_a_prototype(center: Array, count: int, dtype) -> Array:
    center = at_least_float32(center)
    if center.shape != (count,):
        raise ValueError(f"center: found shape {center.shape}, expected one number for each of the {count} prototypes")
    return jax.lax.stop_gradient(center.astype(jnp.promote_types(center.dtype, dtype)))


def _of_different_views(pairs: Array) -> Array:
    """The mean of [G, V, B] over B and over the pairs of a teacher's view and another view of the student's."""
    teachers, students, count = pairs.shape
    different = 1 - jnp.eye(teachers, students, dtype=pairs.dtype)
    return jnp.sum(pairs * different[..., None]) / (teachers * (students - 1) * count)


def dino(
    student: Float[Array, "V B K"],
    teacher: Float[Array, "G B K"],
    center: Float[Array, "K"],
    *,
    student_temperature: float | Array = 0.1,
    teacher_temperature: float | Array = 0.04,
) -> Float[Array, ""]:
    """Mean over images and pairs of different views of -sum_k t_k log p_k; t = softmax((teacher - center) / T_t) and
    p = softmax(student / T_s) (Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021, equations 1 to 3).

    The first G views of the student are those of the teacher, which gets no gradient. log K where both are uniform.
    Raises ValueError where the shapes do not fit, there are fewer than two views or a temperature is not above 0.
    """
    _check(student_temperature, teacher_temperature)
    student, teacher = _views("student, teacher", student, teacher, "B K")
    center = _one_a_prototype(center, teacher.shape[-1], teacher.dtype)
    target = jax.nn.softmax((jax.lax.stop_gradient(teacher) - center) / teacher_temperature)
    below, spread = below_largest(student / student_temperature)
    # the logarithm outside the sum over prototypes: K products with log K would each be rounded, and none with zero is
    return _of_different_views(spread[..., 0] - jnp.einsum("gbk,vbk->gvb", target, below, precision=EXACT))


def dino_center(center: Float[Array, "K"], teacher: Float[Array, "G B K"], *, momentum: float | Array = 0.9) -> Float[Array, "K"]:
    """m center + (1 - m) mean of the teacher's logits over views and the global batch (Caron et al., 2021, equation 4); no gradient.

    Raises ValueError where the shapes do not fit or the momentum is outside [0, 1].
    """
    from_zero_to_one("momentum", momentum)
    teacher = jax.lax.stop_gradient(of_rank("teacher", teacher, "G B K"))
    center = _one_a_prototype(center, teacher.shape[-1], teacher.dtype)
    return momentum * center + (1 - momentum) * axis.mean(jnp.mean(teacher, axis=(0, 1)))


def dino_entropy(
    teacher: Float[Array, "G B K"], center: Float[Array, "K"], *, teacher_temperature: float | Array = 0.04
) -> Float[Array, ""]:
    """The mean entropy of softmax((teacher - center) / T_t): log K where it is uniform, towards 0 where one prototype dominates.

    Raises ValueError where the shapes do not fit or the temperature is not above 0.
    """
    above_zero("teacher_temperature", teacher_temperature)
    teacher = jax.lax.stop_gradient(of_rank("teacher", teacher, "G B K"))
    logs = jax.nn.log_softmax((teacher - _one_a_prototype(center, teacher.shape[-1], teacher.dtype)) / teacher_temperature)
    return -jnp.mean(jnp.sum(jnp.exp(logs) * logs, axis=-1))


def _teachers(features: Array, prototypes: Array, center: Array) -> tuple[Array, Array, Array]:
    features, prototypes = of_rank("teacher_features", features, "G B D"), of_rank("teacher_prototypes", prototypes, "K D")
    if features.shape[-1] != prototypes.shape[-1]:
        found = f"{features.shape} and {prototypes.shape}"
        raise ValueError(f"teacher_features, teacher_prototypes: found {found}, expected the same last axis")
    center = _one_a_prototype(center, len(prototypes), features.dtype)
    return jax.lax.stop_gradient(features), jax.lax.stop_gradient(prototypes), center


def dino_prototypes(
    student_features: Float[Array, "V B D"],
    teacher_features: Float[Array, "G B D"],
    student_prototypes: Float[Array, "K D"],
    teacher_prototypes: Float[Array, "K D"],
    center: Float[Array, "K"],
    *,
    student_temperature: float | Array = 0.1,
    teacher_temperature: float | Array = 0.04,
    unit_prototypes: bool = False,
    chunk: int | None = None,
) -> Float[Array, ""]:
    """``dino`` of the logits features . prototypes, made ``chunk`` prototypes at a time (4,096 unless given): no [V, B, K] exists.

    Features are taken as they are, prototypes too unless ``unit_prototypes`` counts each as if it were of length 1 (one of length 0 gives
    logits of 0), which needs no copy of them; cosines need features of length 1 besides. Memory O(V B chunk + K D), for the gradient too.
    The teacher's arrays get no gradient. Reverse differentiation only.
    Raises ValueError where the shapes do not fit, there are fewer than two views, or a temperature or ``chunk`` is not above 0.
    """
    _check(student_temperature, teacher_temperature)
    student, teacher = _views("student_features, teacher_features", student_features, teacher_features, "B D")
    teacher, theirs, center = _teachers(teacher, teacher_prototypes, center)
    ours, theirs = alike("student_prototypes, teacher_prototypes", student_prototypes, theirs, "K D")
    wide = jnp.result_type(student, teacher, ours, center)
    arrays = (student / student_temperature, teacher / teacher_temperature, ours, theirs, center / teacher_temperature)
    return _of_different_views(prototype_cross_entropy(*(array.astype(wide) for array in arrays), unit=unit_prototypes, chunk=chunk))


def dino_prototypes_center(
    center: Float[Array, "K"],
    teacher_features: Float[Array, "G B D"],
    teacher_prototypes: Float[Array, "K D"],
    *,
    momentum: float | Array = 0.9,
    unit_prototypes: bool = False,
) -> Float[Array, "K"]:
    """``dino_center`` of the logits features . prototypes; logits are linear in the features, so their mean is that of the mean features.

    ``unit_prototypes`` as in ``dino_prototypes``. Raises ValueError where the shapes do not fit or the momentum is outside [0, 1].
    """
    from_zero_to_one("momentum", momentum)
    features, prototypes, center = _teachers(teacher_features, teacher_prototypes, center)
    mean = axis.mean(jnp.mean(features, axis=(0, 1)))
    logits = jnp.dot(prototypes, mean, precision=EXACT)
    return momentum * center + (1 - momentum) * (logits * inverse_lengths(prototypes) if unit_prototypes else logits)


def dino_prototypes_entropy(
    teacher_features: Float[Array, "G B D"],
    teacher_prototypes: Float[Array, "K D"],
    center: Float[Array, "K"],
    *,
    teacher_temperature: float | Array = 0.04,
    unit_prototypes: bool = False,
    chunk: int | None = None,
) -> Float[Array, ""]:
    """``dino_entropy`` of the logits features . prototypes, made ``chunk`` prototypes at a time (4,096 unless given).

    ``unit_prototypes`` as in ``dino_prototypes``. Raises ValueError where the shapes do not fit, the temperature is not above 0 or
    ``chunk`` is below 1.
    """
    above_zero("teacher_temperature", teacher_temperature)
    features, prototypes, center = _teachers(teacher_features, teacher_prototypes, center)
    arrays = (features / teacher_temperature, prototypes, center / teacher_temperature)
    return jnp.mean(prototype_entropy(*arrays, unit=unit_prototypes, chunk=chunk))

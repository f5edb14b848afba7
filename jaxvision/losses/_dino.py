"""DINO: the student's distribution over prototypes against the teacher's, across views of one image."""

import jax
import jax.numpy as jnp

from jaxvision import axis, checks
from jaxvision.losses._numerics import EXACT, of_rank, shifted_logits
from jaxvision.typing import Array, Float, at_least_float32


def student_and_teacher(names: str, student: Array, teacher: Array, letters: str) -> tuple[Array, Array]:
    """Student [V, ...] and teacher [G, ...] in float32 or wider. Raises ValueError unless V >= max(2, G) and the other axes agree."""
    student_name, teacher_name = names.split(", ")
    student, teacher = of_rank(student_name, student, f"V {letters}"), of_rank(teacher_name, teacher, f"G {letters}")
    if student.shape[1:] != teacher.shape[1:] or len(student) < max(2, len(teacher)):
        expected = f"[V, {letters.replace(' ', ', ')}] and [G, {letters.replace(' ', ', ')}] with V at least 2 and G"
        raise ValueError(f"{names}: found shapes {student.shape} and {teacher.shape}, expected {expected}")
    return student, teacher


def center_of(center: Array, count: int, dtype) -> Array:
    """``center`` [K] without a gradient. Raises ValueError for another shape."""
    center = at_least_float32(center)
    if center.shape != (count,):
        raise ValueError(f"center: found shape {center.shape}, expected one number for each of the {count} prototypes")
    return jax.lax.stop_gradient(center.astype(jnp.promote_types(center.dtype, dtype)))


def mean_over_different_views(pairs: Array) -> Array:
    """The mean of [G, V, B] over B and over the pairs of a teacher's view and another view of the student."""
    teacher_views, student_views, count = pairs.shape
    different = 1 - jnp.eye(teacher_views, student_views, dtype=pairs.dtype)
    return jnp.sum(pairs * different[..., None]) / (teacher_views * (student_views - 1) * count)


def dino(
    student: Float[Array, "V B K"],
    teacher: Float[Array, "G B K"],
    center: Float[Array, "K"],
    *,
    student_temperature: float | Array = 0.1,
    teacher_temperature: float | Array = 0.04,
) -> Float[Array, ""]:
    """Cross-entropy between the teacher's and the student's distributions of different views.

        t = softmax((teacher - center) / T_t), p = softmax(student / T_s)
        L = mean_b mean_(g != v) -sum_k t_gbk log p_vbk

    ``student`` [V, B, K] and ``teacher`` [G, B, K] are logits over K prototypes; the first G views of the student are those of the teacher.
    ``center`` is [K]. The result is a scalar in nats, log K where both are uniform. Teacher and centre get no gradient. For many prototypes
    use ``dino_prototypes``, which holds no distribution as a whole.

    Raises ValueError where the shapes do not fit, there are fewer than two views, or a temperature is not above 0.
    Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021, equations 1 to 3.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> views = jnp.zeros((4, 2, 8))
    >>> print(f"{jv.losses.dino(views, views[:2], jnp.zeros(8)):.4f}")  # log 8
    2.0794
    """
    checks.positive(student_temperature=student_temperature, teacher_temperature=teacher_temperature)
    student, teacher = student_and_teacher("student, teacher", student, teacher, "B K")
    center = center_of(center, teacher.shape[-1], teacher.dtype)
    target = jax.nn.softmax((jax.lax.stop_gradient(teacher) - center) / teacher_temperature)
    shifted, log_sum = shifted_logits(student / student_temperature)
    # The logarithm stays outside the sum over prototypes: K products with log K would each be rounded.
    return mean_over_different_views(log_sum[..., 0] - jnp.einsum("gbk,vbk->gvb", target, shifted, precision=EXACT))


def dino_center(center: Float[Array, "K"], teacher: Float[Array, "G B K"], *, momentum: float | Array = 0.9) -> Float[Array, "K"]:
    """Moving average of the teacher's logits.

        c' = m c + (1 - m) mean_(g, b) teacher_gb

    ``center`` c is [K], ``teacher`` [G, B, K] are logits, m is the ``momentum``; the mean is over the global batch. No gradient.

    Raises ValueError where the shapes do not fit or ``momentum`` is not from 0 to 1.
    Source: Caron et al., 2021, equation 4.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> print(jv.losses.dino_center(jnp.zeros(2), jnp.array([[[1.0, 3.0]], [[3.0, 5.0]]]), momentum=0.5))
    [1. 2.]
    """
    checks.fraction(momentum=momentum)
    teacher = jax.lax.stop_gradient(of_rank("teacher", teacher, "G B K"))
    center = center_of(center, teacher.shape[-1], teacher.dtype)
    return momentum * center + (1 - momentum) * axis.mean(jnp.mean(teacher, axis=(0, 1)))


def dino_entropy(
    teacher: Float[Array, "G B K"], center: Float[Array, "K"], *, teacher_temperature: float | Array = 0.04
) -> Float[Array, ""]:
    """Mean entropy of the teacher's distributions, a sign of collapse.

        H = mean_(g, b) -sum_k t_gbk log t_gbk, with t = softmax((teacher - center) / T_t)

    ``teacher`` [G, B, K] are logits, ``center`` is [K]. The result is a scalar in nats: log K where all are uniform, near 0 where one
    prototype dominates. No gradient.

    Raises ValueError where the shapes do not fit or ``teacher_temperature`` is not above 0.
    Source: Caron et al., 2021, section 5.3.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> print(f"{jv.losses.dino_entropy(jnp.zeros((2, 3, 8)), jnp.zeros(8)):.4f}")  # log 8
    2.0794
    """
    checks.positive(teacher_temperature=teacher_temperature)
    teacher = jax.lax.stop_gradient(of_rank("teacher", teacher, "G B K"))
    logs = jax.nn.log_softmax((teacher - center_of(center, teacher.shape[-1], teacher.dtype)) / teacher_temperature)
    return -jnp.mean(jnp.sum(jnp.exp(logs) * logs, axis=-1))

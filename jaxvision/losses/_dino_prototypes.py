"""DINO of features and prototypes: the losses of ``_dino`` computed from factors of the logits, a chunk of prototypes at a time."""

import jax
import jax.numpy as jnp

from jaxvision import axis, checks
from jaxvision.kernels import inverse_lengths, prototype_cross_entropy, prototype_entropy
from jaxvision.losses._dino import center_of, mean_over_different_views, student_and_teacher
from jaxvision.losses._numerics import EXACT, like_shaped, of_rank
from jaxvision.typing import Array, Float


def _teacher_arrays(features: Array, prototypes: Array, center: Array) -> tuple[Array, Array, Array]:
    """The teacher's features [G, B, D], prototypes [K, D] and center [K] without gradients. Raises ValueError where they do not fit."""
    features, prototypes = of_rank("teacher_features", features, "G B D"), of_rank("teacher_prototypes", prototypes, "K D")
    if features.shape[-1] != prototypes.shape[-1]:
        found = f"{features.shape} and {prototypes.shape}"
        raise ValueError(f"teacher_features, teacher_prototypes: found {found}, expected the same last axis")
    center = center_of(center, len(prototypes), features.dtype)
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
    """``dino`` of logits = features . prototypes, without an array [V, B, K].

        L = dino(student_features W_s^T, teacher_features W_t^T, center)

    Features are [V, B, D] and [G, B, D], prototypes W [K, D], ``center`` [K]; the result is a scalar in nats. The logits are computed
    ``chunk`` prototypes at a time, 4,096 by default: memory O(V B chunk + K D), for the gradient too. ``unit_prototypes`` scales each
    prototype to length 1 (one of zeros gives logits of 0) without a copy of them; for cosines the features must have length 1 too. The
    teacher's arrays get no gradient. Reverse differentiation only.

    Raises ValueError where the shapes do not fit, there are fewer than two views, or a temperature or ``chunk`` is not above 0.
    Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021, equations 1 to 3 and appendix C.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> features, prototypes = jnp.ones((4, 2, 3)), jnp.ones((8, 3))
    >>> print(f"{jv.losses.dino_prototypes(features, features[:2], prototypes, prototypes, jnp.zeros(8)):.4f}")  # log 8
    2.0794
    """
    checks.positive(student_temperature=student_temperature, teacher_temperature=teacher_temperature)
    student, teacher = student_and_teacher("student_features, teacher_features", student_features, teacher_features, "B D")
    teacher, teacher_rows, center = _teacher_arrays(teacher, teacher_prototypes, center)
    student_rows, teacher_rows = like_shaped("student_prototypes, teacher_prototypes", student_prototypes, teacher_rows, "K D")
    wide = jnp.result_type(student, teacher, student_rows, center)
    arrays = (student / student_temperature, teacher / teacher_temperature, student_rows, teacher_rows, center / teacher_temperature)
    pairs = prototype_cross_entropy(*(array.astype(wide) for array in arrays), unit=unit_prototypes, chunk=chunk)
    return mean_over_different_views(pairs)


def dino_prototypes_center(
    center: Float[Array, "K"],
    teacher_features: Float[Array, "G B D"],
    teacher_prototypes: Float[Array, "K D"],
    *,
    momentum: float | Array = 0.9,
    unit_prototypes: bool = False,
) -> Float[Array, "K"]:
    """``dino_center`` of logits = features . prototypes.

        c' = m c + (1 - m) W mean_(g, b) features_gb

    The logits are linear in the features, so their mean is that of the mean features over the global batch. Shapes and
    ``unit_prototypes`` as in ``dino_prototypes``; the result is [K]. No gradient.

    Raises ValueError where the shapes do not fit or ``momentum`` is not from 0 to 1.
    Source: Caron et al., 2021, equation 4.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> print(jv.losses.dino_prototypes_center(jnp.zeros(2), jnp.ones((2, 3, 4)), jnp.ones((2, 4)), momentum=0.5))
    [2. 2.]
    """
    checks.fraction(momentum=momentum)
    features, prototypes, center = _teacher_arrays(teacher_features, teacher_prototypes, center)
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
    """``dino_entropy`` of logits = features . prototypes, ``chunk`` prototypes at a time (4,096 by default).

        H = mean_(g, b) -sum_k t_gbk log t_gbk, with t = softmax((features W^T - center) / T_t)

    Shapes and ``unit_prototypes`` as in ``dino_prototypes``; the result is a scalar in nats. No gradient.

    Raises ValueError where the shapes do not fit, or ``teacher_temperature`` or ``chunk`` is not above 0.
    Source: Caron et al., 2021, section 5.3.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> print(f"{jv.losses.dino_prototypes_entropy(jnp.ones((2, 3, 4)), jnp.ones((8, 4)), jnp.zeros(8)):.4f}")  # log 8
    2.0794
    """
    checks.positive(teacher_temperature=teacher_temperature)
    features, prototypes, center = _teacher_arrays(teacher_features, teacher_prototypes, center)
    arrays = (features / teacher_temperature, prototypes, center / teacher_temperature)
    return jnp.mean(prototype_entropy(*arrays, unit=unit_prototypes, chunk=chunk))

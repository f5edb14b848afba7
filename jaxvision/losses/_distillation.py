"""Losses against the predictions of a model: knowledge distillation and pseudo-labels."""

import math

import jax
import jax.numpy as jnp

from jaxvision import axis, checks
from jaxvision.losses._numerics import like_shaped, log_softmax
from jaxvision.typing import Array, Float

_EXP_LIMIT = 16.0  # largest difference of logits that is exponentiated without subtracting a maximum
_SERIES_TERMS = 9  # of exp(x) - 1 - x: enough for |x| <= 1/2 in float32
_SERIES_TERMS_FLOAT64 = 16


def _exp_beyond_linear(x: Array) -> Array:
    """exp(x) - 1 - x, accurate for small x too."""
    small = jnp.abs(x) < 0.5
    near, far = jnp.where(small, x, 0), jnp.where(small, 1, x)
    series = jnp.zeros_like(x)
    for power in range(_SERIES_TERMS_FLOAT64 if x.dtype == jnp.float64 else _SERIES_TERMS, 1, -1):
        series = series * near + 1 / math.factorial(power)
    return jnp.where(small, near * near * series, jnp.expm1(far) - far)


def _divergence(teacher: Array, student: Array, temperature: float | Array) -> Array:
    """KL(softmax(teacher / T) || softmax(student / T)) [B], accurate where the two almost agree.

    With q the teacher's distribution and x the student's logits less the teacher's, less their mean under q, the divergence is
    log(1 + sum q (exp(x) - 1 - x)): a sum of terms that are not negative, where the definition is a difference of logarithms.
    """
    log_target = jax.nn.log_softmax(teacher / temperature)
    target = jnp.exp(log_target)
    x = (student - teacher) / temperature
    x = x - jnp.sum(target * x, axis=-1, keepdims=True)
    near = jnp.all(jnp.abs(x) < _EXP_LIMIT, axis=-1, keepdims=True)  # false for nan
    accurate = jnp.log1p(jnp.sum(target * _exp_beyond_linear(jnp.where(near, x, 0)), axis=-1))
    # A class to which the teacher gives a logit of minus infinity costs nothing.
    by_definition = jnp.sum(jnp.where(target == 0, 0, target * (log_target - jax.nn.log_softmax(student / temperature))), axis=-1)
    return jnp.where(near[..., 0], accurate, by_definition)


def knowledge_distillation(
    student: Float[Array, "B K"], teacher: Float[Array, "B K"], *, temperature: float | Array = 4.0
) -> Float[Array, ""]:
    """Divergence of the student's softened distribution from the teacher's.

        L = T^2 mean_b KL(softmax(t_b / T) || softmax(s_b / T))

    ``student`` s and ``teacher`` t are logits [B, K]; T is the ``temperature``; T^2 keeps gradients comparable between temperatures. The
    result is a scalar in nats. The teacher gets no gradient.

    Raises ValueError where the shapes differ or ``temperature`` is not above 0.
    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> teacher = jnp.array([[2.0, 0.0]])
    >>> print(f"{jv.losses.knowledge_distillation(jnp.zeros((1, 2)), teacher, temperature=1.0):.4f}")
    0.3278
    """
    checks.positive(temperature=temperature)
    student, teacher = like_shaped("student, teacher", student, teacher, "B K")
    return temperature**2 * jnp.mean(_divergence(jax.lax.stop_gradient(teacher), student, temperature))


def pseudo_label(weak: Float[Array, "B K"], strong: Float[Array, "B K"], *, threshold: float | Array = 0.95) -> Float[Array, ""]:
    """Cross-entropy against the most probable class of a weakly augmented view, over the confident examples.

        q_b = softmax(w_b), c_b = [max_k q_bk >= threshold]
        L = sum_b c_b (-log softmax(s_b)_(argmax q_b)) / sum_b c_b

    ``weak`` w and ``strong`` s are logits [B, K] of two views; the sums are over the global batch (the paper divides by B). The result is a
    scalar in nats: 0 where no example is confident, nan where ``weak`` has a nan. ``weak`` gets no gradient.

    Raises ValueError where the shapes differ or ``threshold`` is not from 0 to 1.
    Source: Lee, "Pseudo-Label", 2013; Sohn et al., "FixMatch", 2020, equation 4.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> weak, strong = jnp.array([[9.0, 0.0], [0.1, 0.0]]), jnp.zeros((2, 2))  # only the first is confident
    >>> print(f"{jv.losses.pseudo_label(weak, strong):.4f}")
    0.6931
    """
    checks.fraction(threshold=threshold)
    weak, strong = like_shaped("weak, strong", weak, strong, "B K")
    probabilities = jax.nn.softmax(jax.lax.stop_gradient(weak))
    largest = jnp.max(probabilities, axis=-1)
    confident = jnp.where(jnp.isnan(largest), largest, largest >= threshold)  # a nan stays, so that a broken model is seen
    label = jnp.argmax(probabilities, axis=-1)
    cost = -jnp.take_along_axis(log_softmax(strong), label[:, None], axis=-1)[:, 0]
    share = axis.mean(jnp.mean(confident))
    return jnp.mean(confident * cost) / jnp.where(share > 0, share, 1)

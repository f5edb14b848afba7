"""Losses of a model that learns from a model's predictions: distillation and pseudo-labels."""

import math

import jax
import jax.numpy as jnp

from jaxvision import axis
from jaxvision.losses._numerics import above_zero, alike, from_zero_to_one, log_softmax
from jaxvision.typing import Array, Float

_NEAR = 16.0  # up to which logits' differences may be exponentiated without a maximum taken off
_TERMS = 9  # of the series of exp(x) - 1 - x: enough for |x| <= 1/2 in float32
_FINE_TERMS = 16  # in float64


def _beyond_linear(x: Array) -> Array:
    """exp(x) - 1 - x, to the last digits where x is small too."""
    small = jnp.abs(x) < 0.5
    near, far = jnp.where(small, x, 0), jnp.where(small, 1, x)
    series = jnp.zeros_like(x)
    for power in range(_FINE_TERMS if x.dtype == jnp.float64 else _TERMS, 1, -1):
        series = series * near + 1 / math.factorial(power)
    return jnp.where(small, near * near * series, jnp.expm1(far) - far)


def _divergence(teacher: Array, student: Array, temperature: float | Array) -> Array:
    """KL(softmax(teacher / T) || softmax(student / T)) [B], to the last digits where they all but agree.

    With q the teacher's distribution and x the student's logits less the teacher's, less their mean under q, it is
    log(1 + sum q (exp(x) - 1 - x)): a sum of what is not negative, in place of a difference of two logarithms.
    """
    wanted = jax.nn.log_softmax(teacher / temperature)
    weights = jnp.exp(wanted)
    x = (student - teacher) / temperature
    x = x - jnp.sum(weights * x, axis=-1, keepdims=True)
    near = jnp.all(jnp.abs(x) < _NEAR, axis=-1, keepdims=True)  # false for what is not a number
    close = jnp.log1p(jnp.sum(weights * _beyond_linear(jnp.where(near, x, 0)), axis=-1))
    # a class that the teacher switched off by a logit of minus infinity costs nothing
    apart = jnp.sum(jnp.where(weights == 0, 0, weights * (wanted - jax.nn.log_softmax(student / temperature))), axis=-1)
    return jnp.where(near[..., 0], close, apart)


def knowledge_distillation(
    student: Float[Array, "B K"], teacher: Float[Array, "B K"], *, temperature: float | Array = 4.0
) -> Float[Array, ""]:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), mean over B, from logits; the teacher gets no gradient
    (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2; T^2 keeps gradients comparable between temperatures).

    Raises ValueError where the shapes differ or the temperature is not above 0.
    """
    above_zero("temperature", temperature)
    student, teacher = alike("student, teacher", student, teacher, "B K")
    return temperature**2 * jnp.mean(_divergence(jax.lax.stop_gradient(teacher), student, temperature))


def pseudo_label(weak: Float[Array, "B K"], strong: Float[Array, "B K"], *, threshold: float | Array = 0.95) -> Float[Array, ""]:
    """Cross-entropy of the logits ``strong`` against the most probable class of ``weak``, mean over the examples of the global batch where
    that probability is at least ``threshold`` (Lee, 2013; Sohn et al., "FixMatch", 2020, equation 4, which divides by all examples).

    ``weak`` gets no gradient. Zero where no example is confident, nan where ``weak`` has one.
    Raises ValueError where the shapes differ or the threshold is outside [0, 1].
    """
    from_zero_to_one("threshold", threshold)
    weak, strong = alike("weak, strong", weak, strong, "B K")
    chances = jax.nn.softmax(jax.lax.stop_gradient(weak))
    surest = jnp.max(chances, axis=-1)
    confident = jnp.where(jnp.isnan(surest), surest, surest >= threshold)  # else a weak view that broke would pass for a doubtful one
    label = jnp.argmax(chances, axis=-1)
    surprise = -jnp.take_along_axis(log_softmax(strong), label[:, None], axis=-1)[:, 0]
    share = axis.mean(jnp.mean(confident))
    return jnp.mean(confident * surprise) / jnp.where(share > 0, share, 1)

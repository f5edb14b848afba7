"""Losses of a model that learns from a model's predictions: distillation and pseudo-labels."""

import jax
import jax.numpy as jnp

from jaxvision import axis
from jaxvision.losses.precision import above_zero, alike, from_zero_to_one
from jaxvision.typing import Array, Float


def knowledge_distillation(
    student: Float[Array, "B K"], teacher: Float[Array, "B K"], *, temperature: float | Array = 4.0
) -> Float[Array, ""]:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), mean over B, from logits; the teacher gets no gradient
    (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2; T^2 keeps gradients comparable between temperatures).

    Raises ValueError where the shapes differ or the temperature is not above 0.
    """
    above_zero("temperature", temperature)
    student, teacher = alike("student, teacher", student, teacher, "B K")
    wanted = jax.nn.log_softmax(jax.lax.stop_gradient(teacher) / temperature)
    weights = jnp.exp(wanted)
    apart = wanted - jax.nn.log_softmax(student / temperature)
    # a class that the teacher switched off by a logit of minus infinity costs nothing
    return temperature**2 * jnp.mean(jnp.sum(jnp.where(weights == 0, 0, weights * apart), axis=-1))


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
    surprise = -jnp.take_along_axis(jax.nn.log_softmax(strong), label[:, None], axis=-1)[:, 0]
    share = axis.mean(jnp.mean(confident))
    return jnp.mean(confident * surprise) / jnp.where(share > 0, share, 1)

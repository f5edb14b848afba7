"""Softmax and the cross-entropies of classification."""

import jax
import jax.numpy as jnp

from jaxvision import axis
from jaxvision.losses._numerics import log_softmax
from jaxvision.typing import Array, Float, Shaped, at_least_float32


def softmax(logits: Float[Array, "... K"], *, temperature: float | Array = 1.0) -> Float[Array, "... K"]:
    """exp(logits / temperature) over its sum along the last axis; the temperature may be a parameter that is learned."""
    return jax.nn.softmax(at_least_float32(logits) / temperature, axis=-1)


def _target(logits: Array, labels: Array) -> tuple[Array, bool]:
    """Labels as a distribution [B, K], and whether they were class numbers [B]."""
    if logits.ndim != 2:
        raise ValueError(f"logits: found shape {logits.shape}, expected [B, K]")
    if labels.shape == logits.shape[:1] and jnp.issubdtype(labels.dtype, jnp.integer):
        return jax.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype), True
    if labels.shape == logits.shape:
        return labels.astype(logits.dtype), False
    raise ValueError(
        f"labels: found shape {labels.shape} of {labels.dtype}, expected class numbers [B] (integers) or distributions [B, K] "
        f"for logits {logits.shape}"
    )


def _one_a_class(name: str, weights: Array, logits: Array) -> Array:
    weights = jnp.asarray(weights, logits.dtype)
    if weights.shape != logits.shape[1:]:
        raise ValueError(f"{name}: found shape {weights.shape}, expected one weight for each of the {logits.shape[1]} classes")
    return weights


def cross_entropy(
    logits: Float[Array, "B K"],
    labels: Shaped[Array, "B *K"],
    *,
    label_smoothing: float = 0.0,
    class_weights: Float[Array, "K"] | None = None,
) -> Float[Array, ""]:
    """Mean of -sum_k w_k t_k log softmax(logits)_k, with t the label smoothed: (1 - s) label + s / K (Szegedy et al., 2016).

    ``labels``: class numbers [B], or one-hot or soft distributions [B, K]. With ``class_weights`` and class numbers the sum is divided
    by the weights of the labels, with distributions by B: PyTorch's conventions. A class number outside 0..K-1 gives nan.
    Raises ValueError where shapes do not fit or ``label_smoothing`` is outside [0, 1].
    """
    logits, labels = at_least_float32(logits), jnp.asarray(labels)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing: found {label_smoothing}, expected 0 to 1")
    target, numbered = _target(logits, labels)
    outside = numbered and jnp.any((labels < 0) | (labels >= logits.shape[1]))  # one_hot would quietly make them nothing
    weights = jnp.ones(logits.shape[1], logits.dtype) if class_weights is None else _one_a_class("class_weights", class_weights, logits)
    part = weights * ((1 - label_smoothing) * target + label_smoothing / logits.shape[1])
    # a class switched off by a logit of minus infinity costs nothing where no label asks for it
    surprise = -jnp.sum(jnp.where(part == 0, 0, part * log_softmax(logits)), axis=-1)  # [B]
    share = jnp.mean(surprise)
    if numbered and class_weights is not None:
        share = share / axis.mean(jnp.mean(target @ weights))
    return jnp.where(outside, jnp.nan, share)


def binary_cross_entropy(
    logits: Float[Array, "B K"],
    labels: Float[Array, "B K"],
    *,
    class_weights: Float[Array, "K"] | None = None,
    positive_weights: Float[Array, "K"] | None = None,
) -> Float[Array, ""]:
    """Mean over images and classes of -w (p t log sigmoid(x) + (1 - t) log sigmoid(-x)): several labels an image.

    ``labels`` [B, K] in [0, 1]; ``class_weights`` w and ``positive_weights`` p [K] as in PyTorch. Raises ValueError where shapes differ.
    """
    logits, labels = at_least_float32(logits), jnp.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape:
        raise ValueError(f"logits, labels: found shapes {logits.shape} and {labels.shape}, expected [B, K] twice")
    labels = labels.astype(logits.dtype)
    positive = 1.0 if positive_weights is None else _one_a_class("positive_weights", positive_weights, logits)
    weights = 1.0 if class_weights is None else _one_a_class("class_weights", class_weights, logits)
    surprise = -(positive * labels * jax.nn.log_sigmoid(logits) + (1 - labels) * jax.nn.log_sigmoid(-logits))
    return jnp.mean(weights * surprise)


def median_frequency_weights(counts: Shaped[Array, "K"]) -> Float[Array, "K"]:
    """alpha_c = median frequency / frequency of class c (Eigen & Fergus, 2015), from how often each class occurs [K].

    The median is over the classes that occur; one that never does gets the weight 0.
    """
    counts = at_least_float32(counts)
    if counts.ndim != 1:
        raise ValueError(f"counts: found shape {counts.shape}, expected [K]")
    frequency = counts / jnp.sum(counts)
    median = jnp.nanmedian(jnp.where(counts > 0, frequency, jnp.nan))
    return jnp.where(counts > 0, median / jnp.where(counts > 0, frequency, 1), 0)

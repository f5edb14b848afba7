"""Losses of classification: softmax, likelihoods of binary labels, and the cross-entropies."""

import jax
import jax.numpy as jnp

from jaxvision import axis, checks
from jaxvision.losses._numerics import log_softmax
from jaxvision.typing import Array, Float, Shaped, at_least_float32


def softmax(logits: Float[Array, "... K"], *, temperature: float | Array = 1.0) -> Float[Array, "... K"]:
    """Probabilities of K classes.

        p_k = exp(x_k / T) / sum_j exp(x_j / T)

    ``logits`` x are [..., K]; ``temperature`` T may be a traced scalar, so that it can be learned (Guo et al., "On Calibration of Modern
    Neural Networks", 2017, section 4.2). Raises ValueError where it is a number that is not above 0.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> [f"{p:.2%}" for p in jv.losses.softmax(jnp.array([11.5, 12.8, -2.4]))]
    ['21.42%', '78.58%', '0.00%']
    """
    checks.positive(temperature=temperature)
    return jax.nn.softmax(at_least_float32(logits) / temperature, axis=-1)


def _binary_probabilities(probabilities: Array, labels: Array) -> tuple[Array, Array]:
    """(p where the label is 1, else 1; p where the label is 0, else 0)."""
    probabilities, labels = at_least_float32(probabilities), jnp.asarray(labels)
    if probabilities.shape != labels.shape or probabilities.ndim != 1:
        raise ValueError(f"probabilities, labels: found shapes {probabilities.shape} and {labels.shape}, expected [N] twice")
    return jnp.where(labels == 1, probabilities, 1), jnp.where(labels == 1, 0, probabilities)


def likelihood(probabilities: Float[Array, "N"], labels: Shaped[Array, "N"]) -> Float[Array, ""]:
    """Probability of observed binary labels under independent predictions.

        prod_i p_i^y_i (1 - p_i)^(1 - y_i)

    ``probabilities`` p of a label 1 are [N], ``labels`` y in {0, 1} are [N]; the result is a scalar from 0 to 1. It underflows to 0 for
    many examples; train with ``negative_log_likelihood``.

    Raises ValueError unless both have one shape [N].

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> print(f"{jv.losses.likelihood(jnp.array([0.1, 0.8, 0.2, 0.7, 0.9]), jnp.array([0, 1, 0, 1, 1])):.4f}")
    0.3629
    """
    ones, zeros = _binary_probabilities(probabilities, labels)
    return jnp.prod(ones * (1 - zeros))


def negative_log_likelihood(probabilities: Float[Array, "N"], labels: Shaped[Array, "N"]) -> Float[Array, ""]:
    """-log of ``likelihood``, computed as a sum of logarithms, which does not underflow.

        L = -sum_i (y_i log p_i + (1 - y_i) log(1 - p_i))

    Shapes as in ``likelihood``; the result is a scalar in nats, infinite where a label had probability 0. From logits, use
    ``binary_cross_entropy``, which is more accurate.

    Raises ValueError unless both have one shape [N].

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> print(f"{jv.losses.negative_log_likelihood(jnp.array([0.1, 0.8, 0.2, 0.7, 0.9]), jnp.array([0, 1, 0, 1, 1])):.4f}")
    1.0137
    """
    ones, zeros = _binary_probabilities(probabilities, labels)
    return -jnp.sum(jnp.log(ones) + jnp.log1p(-zeros))  # log1p keeps the small probabilities that 1 - p rounds away


def _target(logits: Array, labels: Array) -> tuple[Array, bool]:
    """(labels as distributions [B, K], whether they were class numbers [B])."""
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


def _per_class(name: str, weights: Array, logits: Array) -> Array:
    """``weights`` as an array [K]. Raises ValueError unless there is one for each class of ``logits`` [B, K]."""
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
    """Softmax cross-entropy, with label smoothing and class weights.

        L = mean_b -sum_k w_k t_bk log softmax(x_b)_k, with t = (1 - s) y + s / K

    ``logits`` x are [B, K]; ``labels`` y are class numbers [B], or one-hot or soft distributions [B, K]; ``label_smoothing`` s;
    ``class_weights`` w [K] (default: 1). The result is a scalar in nats. With ``class_weights`` the sum is divided by the weights of the
    labels for class numbers, by B for distributions: PyTorch's conventions. A class number outside 0..K-1 gives nan.

    Raises ValueError where the shapes do not fit or ``label_smoothing`` is not from 0 to 1.
    Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016, section 7 (label smoothing).

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> logits, labels = jnp.array([[2.0, 0.0], [0.0, 0.0]]), jnp.array([0, 1])
    >>> print(f"{jv.losses.cross_entropy(logits, labels):.4f} {jv.losses.cross_entropy(logits, labels, label_smoothing=0.1):.4f}")
    0.4100 0.4600
    """
    checks.fraction(label_smoothing=label_smoothing)
    logits, labels = at_least_float32(logits), jnp.asarray(labels)
    target, numbered = _target(logits, labels)
    outside = numbered and jnp.any((labels < 0) | (labels >= logits.shape[1]))  # one_hot would make them rows of zeros
    weights = jnp.ones(logits.shape[1], logits.dtype) if class_weights is None else _per_class("class_weights", class_weights, logits)
    weighted = weights * ((1 - label_smoothing) * target + label_smoothing / logits.shape[1])
    # A class with a logit of minus infinity costs nothing where its target is 0.
    cost = -jnp.sum(jnp.where(weighted == 0, 0, weighted * log_softmax(logits)), axis=-1)  # [B]
    mean = jnp.mean(cost)
    if numbered and class_weights is not None:
        mean = mean / axis.mean(jnp.mean(target @ weights))
    return jnp.where(outside, jnp.nan, mean)


def binary_cross_entropy(
    logits: Float[Array, "B K"],
    labels: Float[Array, "B K"],
    *,
    class_weights: Float[Array, "K"] | None = None,
    positive_weights: Float[Array, "K"] | None = None,
) -> Float[Array, ""]:
    """Sigmoid cross-entropy of K independent binary labels an image.

        L = mean_bk -w_k (p_k y_bk log sigmoid(x_bk) + (1 - y_bk) log sigmoid(-x_bk))

    ``logits`` x are [B, K], ``labels`` y [B, K] in [0, 1]; ``class_weights`` w and ``positive_weights`` p are [K] (default: 1), as in
    PyTorch. The result is a scalar in nats.

    Raises ValueError where the shapes do not fit.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> print(f"{jv.losses.binary_cross_entropy(jnp.zeros((2, 3)), jnp.ones((2, 3))):.4f}")  # log 2
    0.6931
    """
    logits, labels = at_least_float32(logits), jnp.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape:
        raise ValueError(f"logits, labels: found shapes {logits.shape} and {labels.shape}, expected [B, K] twice")
    labels = labels.astype(logits.dtype)
    positive = 1.0 if positive_weights is None else _per_class("positive_weights", positive_weights, logits)
    weights = 1.0 if class_weights is None else _per_class("class_weights", class_weights, logits)
    cost = -(positive * labels * jax.nn.log_sigmoid(logits) + (1 - labels) * jax.nn.log_sigmoid(-logits))
    return jnp.mean(weights * cost)


def median_frequency_weights(counts: Shaped[Array, "K"]) -> Float[Array, "K"]:
    """Class weights that balance rare and frequent classes.

        w_k = median(f) / f_k, with f_k = counts_k / sum_j counts_j

    ``counts`` [K]: how often each class occurs. The median is over the classes that occur; a class that does not occur gets 0. The result
    [K] is meant for ``class_weights``.

    Raises ValueError unless ``counts`` are [K].
    Source: Eigen & Fergus, "Predicting Depth, Surface Normals and Semantic Labels with a Common Multi-Scale Architecture", 2015,
    section 6.3.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> print(jv.losses.median_frequency_weights(jnp.array([10, 20, 40])))
    [2.  1.  0.5]
    """
    counts = at_least_float32(counts)
    if counts.ndim != 1:
        raise ValueError(f"counts: found shape {counts.shape}, expected [K]")
    frequency = counts / jnp.sum(counts)
    median = jnp.nanmedian(jnp.where(counts > 0, frequency, jnp.nan))
    return jnp.where(counts > 0, median / jnp.where(counts > 0, frequency, 1), 0)

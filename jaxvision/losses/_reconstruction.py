"""Losses of models that rebuild what they were shown: masked and plain squared errors, and the price of a code."""

import jax.numpy as jnp

from jaxvision import axis
from jaxvision.losses._numerics import alike
from jaxvision.typing import Array, Float, Shaped, at_least_float32


def mean_squared_error(prediction: Float[Array, "..."], target: Float[Array, "..."]) -> Float[Array, ""]:
    """The mean of (prediction - target)^2 over everything. Raises ValueError where the shapes differ."""
    prediction, target = at_least_float32(prediction), at_least_float32(target)
    if prediction.shape != target.shape or 0 in target.shape:
        raise ValueError(f"prediction, target: found shapes {prediction.shape} and {target.shape}, expected the same, without empty axes")
    return jnp.mean(jnp.square(prediction - target))


def masked_mse(
    prediction: Float[Array, "B N P"], target: Float[Array, "B N P"], mask: Shaped[Array, "B N"], *, normalize_target: bool = True
) -> Float[Array, ""]:
    """The squared error of each patch's pixels, averaged over the pixels and over the hidden patches of the global batch
    (He et al., "Masked Autoencoders Are Scalable Vision Learners", 2021, section 3).

    ``mask``: 1 where a patch was hidden; the others count for nothing. With ``normalize_target`` each patch of the target has its mean
    taken away and is divided by the root of its unbiased variance + 1e-6. Zero where nothing is hidden, nan where the mask has one.
    Raises ValueError where the shapes do not fit.
    """
    prediction, target = alike("prediction, target", prediction, target, "B N P")
    mask = jnp.asarray(mask).astype(prediction.dtype)
    if mask.shape != prediction.shape[:2]:
        raise ValueError(f"mask: found shape {mask.shape}, expected one number for each patch of a prediction {prediction.shape}")
    if normalize_target:
        centred = target - jnp.mean(target, axis=-1, keepdims=True)
        variance = jnp.sum(jnp.square(centred), axis=-1, keepdims=True) / max(target.shape[-1] - 1, 1)
        target = centred / jnp.sqrt(variance + 1e-6)
    error = jnp.mean(jnp.square(prediction - target), axis=-1)  # [B, N]
    hidden = axis.mean(jnp.mean(mask))
    return jnp.mean(jnp.where(mask <= 0, 0, mask * error)) / jnp.where(hidden > 0, hidden, 1)


def gaussian_kl(mean: Float[Array, "B D"], log_variance: Float[Array, "B D"]) -> Float[Array, ""]:
    """KL(N(mean, exp(log_variance)) || N(0, 1)), summed over D, mean over B: 1/2 sum (exp(v) + m^2 - 1 - v)
    (Kingma & Welling, "Auto-Encoding Variational Bayes", 2013, appendix B). Raises ValueError where the shapes differ.
    """
    mean, log_variance = alike("mean, log_variance", mean, log_variance, "B D")
    terms = jnp.square(mean) + (jnp.expm1(log_variance) - log_variance)  # expm1: near v = 0 the one and the exponential cancel
    return jnp.mean(jnp.sum(terms, axis=-1)) / 2

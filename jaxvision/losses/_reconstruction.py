"""Reconstruction losses: masked and plain squared errors, and the divergence of a Gaussian code."""

import jax.numpy as jnp

from jaxvision import axis
from jaxvision.kernels import standardized
from jaxvision.losses._numerics import like_shaped
from jaxvision.typing import Array, Float, Shaped


def mean_squared_error(prediction: Float[Array, "..."], target: Float[Array, "..."]) -> Float[Array, ""]:
    """Mean of (prediction - target)^2 over all entries.

    Both arrays have one shape of any rank; the result is a scalar in the square of their unit.

    Raises ValueError where the shapes differ.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> print(jv.losses.mean_squared_error(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))
    2.0
    """
    prediction, target = like_shaped("prediction, target", prediction, target)
    return jnp.mean(jnp.square(prediction - target))


def masked_mse(
    prediction: Float[Array, "B N P"], target: Float[Array, "B N P"], mask: Shaped[Array, "B N"], *, normalize_target: bool = True
) -> Float[Array, ""]:
    """Squared error of the hidden patches' pixels.

        L = sum_bn m_bn 1/P sum_p (x_bnp - t_bnp)^2 / sum_bn m_bn
        t = (y - mean(y)) / sqrt(Var(y) + 1e-6) of each patch with ``normalize_target``, else t = y

    ``prediction`` x and ``target`` y are patches [B, N, P]; ``mask`` m [B, N] is 1 where a patch is hidden. The sums are over the global
    batch; Var has the unbiased denominator P - 1. The result is a scalar: 0 where nothing is hidden, nan where the mask has a nan.

    Raises ValueError where the shapes do not fit.
    Source: He et al., "Masked Autoencoders Are Scalable Vision Learners", 2021, section 3.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> prediction, target = jnp.zeros((1, 2, 4)), jnp.array([[[1.0, 2.0, 3.0, 4.0], [9.0, 9.0, 9.0, 9.0]]])
    >>> print(jv.losses.masked_mse(prediction, target, jnp.array([[1, 0]]), normalize_target=False))
    7.5
    """
    prediction, target = like_shaped("prediction, target", prediction, target, "B N P")
    mask = jnp.asarray(mask).astype(prediction.dtype)
    if mask.shape != prediction.shape[:2]:
        raise ValueError(f"mask: found shape {mask.shape}, expected one number for each patch of a prediction {prediction.shape}")
    if normalize_target:
        target = standardized(target, (-1,), 1e-6, unbiased=True)
    error = jnp.mean(jnp.square(prediction - target), axis=-1)  # [B, N]
    hidden = axis.mean(jnp.mean(mask))
    return jnp.mean(jnp.where(mask <= 0, 0, mask * error)) / jnp.where(hidden > 0, hidden, 1)


def gaussian_kl(mean: Float[Array, "B D"], log_variance: Float[Array, "B D"]) -> Float[Array, ""]:
    """Divergence of a diagonal Gaussian from the standard one, in nats an example.

        L = mean_b 1/2 sum_d (exp(v_bd) + m_bd^2 - 1 - v_bd) = mean_b KL(N(m_b, exp(v_b)) || N(0, 1))

    ``mean`` m and ``log_variance`` v are [B, D]; the result is a scalar.

    Raises ValueError unless both have one shape [B, D].
    Source: Kingma & Welling, "Auto-Encoding Variational Bayes", 2013, appendix B.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> print(jv.losses.gaussian_kl(jnp.array([[2.0, 0.0]]), jnp.zeros((1, 2))))
    2.0
    """
    mean, log_variance = like_shaped("mean, log_variance", mean, log_variance, "B D")
    terms = jnp.square(mean) + (jnp.expm1(log_variance) - log_variance)  # expm1: near v = 0 the one and the exponential cancel
    return jnp.mean(jnp.sum(terms, axis=-1)) / 2

"""Cross-entropy of sequences of tokens."""

import jax
import jax.numpy as jnp

from jaxvision import axis, checks
from jaxvision.typing import Array, Float, Int, at_least_float32


def sequence_cross_entropy(
    logits: Float[Array, "B M K"], target: Int[Array, "B M"], *, padding: int | None = 0, label_smoothing: float = 0.0
) -> Float[Array, ""]:
    """Mean cross-entropy over the tokens of the global batch that are not padding.

        L = mean_(b, m: y_bm != padding) -sum_k t_k log softmax(x_bm)_k, with t = (1 - s) onehot(y_bm) + s / K

    ``logits`` x are [B, M, K], ``target`` y token numbers [B, M], ``label_smoothing`` s. ``padding`` None counts every position. The result
    is a scalar in nats a token.

    Raises ValueError where the shapes do not fit, ``target`` is not of integers, or ``label_smoothing`` is not from 0 to 1.
    Source: Vaswani et al., "Attention Is All You Need", 2017, section 5.4 (label smoothing).

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> loss = jv.losses.sequence_cross_entropy(jnp.zeros((1, 3, 4)), jnp.array([[2, 1, 0]]))  # uniform over 4 tokens
    >>> print(f"{loss:.4f}")
    1.3863
    """
    checks.fraction(label_smoothing=label_smoothing)
    logits = at_least_float32(logits)
    if logits.ndim != 3 or target.shape != logits.shape[:2] or not jnp.issubdtype(target.dtype, jnp.integer):
        raise ValueError(f"logits, target: found {logits.shape}, {target.dtype} {target.shape}, expected [B, M, K] and integers [B, M]")
    log_probabilities = jax.nn.log_softmax(logits)
    at_target = jnp.take_along_axis(log_probabilities, target[..., None], axis=-1)[..., 0]  # [B, M]
    cost = -(1 - label_smoothing) * at_target - label_smoothing * jnp.mean(log_probabilities, axis=-1)
    counted = jnp.ones_like(cost) if padding is None else (target != padding).astype(cost.dtype)
    return jnp.mean(counted * cost) / axis.mean(jnp.mean(counted))

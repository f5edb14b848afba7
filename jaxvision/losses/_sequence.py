"""The cross-entropy of rows of tokens."""

import jax
import jax.numpy as jnp

from jaxvision import axis
from jaxvision.typing import Array, Float, Int, at_least_float32


def sequence_cross_entropy(
    logits: Float[Array, "B M K"], target: Int[Array, "B M"], *, padding: int | None = 0, label_smoothing: float = 0.0
) -> Float[Array, ""]:
    """Mean of -log softmax(logits) at the target, over all places of the global batch that are not ``padding`` (None: all places).

    With ``label_smoothing`` s the target is (1 - s) one-hot + s / K. Raises ValueError where the shapes do not fit or s is outside [0, 1].
    """
    logits = at_least_float32(logits)
    if logits.ndim != 3 or target.shape != logits.shape[:2] or not jnp.issubdtype(target.dtype, jnp.integer):
        raise ValueError(f"logits, target: found {logits.shape}, {target.dtype} {target.shape}, expected [B, M, K] and integers [B, M]")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing: found {label_smoothing}, expected 0 to 1")
    logs = jax.nn.log_softmax(logits)
    right = jnp.take_along_axis(logs, target[..., None], axis=-1)[..., 0]  # [B, M]
    surprise = -(1 - label_smoothing) * right - label_smoothing * jnp.mean(logs, axis=-1)
    counts = jnp.ones_like(surprise) if padding is None else (target != padding).astype(surprise.dtype)
    return jnp.mean(counts * surprise) / axis.mean(jnp.mean(counts))

"""Global response normalisation, GRN (Woo et al., "ConvNeXt V2", 2023, section 3.3): channels compete by their energy."""

import jax.numpy as jnp
from flax import linen as nn

from jaxvision.typing import Array, at_least_float32


def _safe_norm(square: Array) -> Array:
    """The square root, with gradient zero at zero: a channel that is zero everywhere would give NaN."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)


class GlobalResponseNorm(nn.Module):
    """x [B, h, w, C] -> x + scale x n + bias, n [B, 1, 1, C] the norm of each channel over its mean over channels.

    ``scale`` and ``bias`` [C] begin at zero: the identity. Sums are taken in at least float32, over the places where ``visible``
    [B, h, w, 1] is True (None: all).
    """

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Array, visible: Array | None = None) -> Array:
        if x.ndim != 4:
            raise ValueError(f"x: found shape {x.shape}, expected [B, h, w, C]")
        if visible is not None and visible.shape != (*x.shape[:3], 1):
            raise ValueError(f"visible: found shape {visible.shape}, expected {(*x.shape[:3], 1)}: True or False for each place of x")
        scale = self.param("scale", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        wide = at_least_float32(x)
        counted = wide if visible is None else jnp.where(visible, wide, 0)
        energy = _safe_norm(jnp.sum(jnp.square(counted), axis=(1, 2), keepdims=True))  # [B, 1, 1, C]
        share = energy / (jnp.mean(energy, axis=-1, keepdims=True) + self.epsilon)
        return (wide * (1 + scale * share) + bias).astype(x.dtype)

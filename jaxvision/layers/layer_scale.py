"""LayerScale (Touvron et al., "Going deeper with Image Transformers", 2021): a learned gain for each channel of a branch."""

import jax.numpy as jnp
from flax import linen as nn

from jaxvision.typing import Array


class LayerScale(nn.Module):
    """x [..., C] times ``gamma`` [C], which begins small, so that deep nets begin near the identity."""

    initial: float = 1e-6

    @nn.compact
    def __call__(self, x: Array) -> Array:
        gamma = self.param("gamma", nn.initializers.constant(self.initial), (x.shape[-1],), jnp.float32)
        return x * gamma.astype(x.dtype)

"""The end of a residual block: the learned gain of its branch, and the output that rematerialization may keep."""

import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from jaxvision import kernels
from jaxvision.typing import Array


def residual_output(x: Array) -> Array:
    """Mark the output of a residual block, the sum of shortcut and branch; the values stay the same.

    An optimization barrier makes the compiler compute it once, and ``jax.checkpoint`` policies can save it under the name "shortcut".

    >>> import jaxvision as jv
    >>> import jax.numpy as jnp
    >>> shortcut, branch = jnp.ones(2), jnp.arange(2.0)
    >>> jv.layers.residual_output(shortcut + branch).tolist()
    [1.0, 2.0]
    """
    return checkpoint_name(kernels.barrier(x), "shortcut")


class LayerScale(nn.Module):
    """Multiply each channel by a learned gain that begins near zero: x [..., C] -> x * gamma [..., C].

    A deep network then begins near the identity (Touvron et al., "Going deeper with Image Transformers", 2021, equation 4). The parameter
    is ``gamma`` [C], which begins at ``initial``.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> layer, x = jv.layers.LayerScale(initial=0.5), jax.numpy.ones((1, 2))
    >>> layer.apply(layer.init(jax.random.key(0), x), x).tolist()
    [[0.5, 0.5]]
    """

    initial: float = 1e-6

    @nn.compact
    def __call__(self, x: Array) -> Array:
        gamma = self.param("gamma", nn.initializers.constant(self.initial), (x.shape[-1],), jnp.float32)
        return x * gamma.astype(x.dtype)

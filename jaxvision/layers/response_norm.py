"""Local response normalisation (Krizhevsky et al., 2012, section 3.3)."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.typing import Array, at_least_float32


def local_response_norm(x: Array, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> Array:
    """x [..., C] / (k + alpha / size * sum of squares over ``size`` neighbouring channels)^beta, in at least float32.

    The division of alpha by ``size`` is Caffe's and PyTorch's reading; the paper's formula has alpha alone.
    """
    wide = at_least_float32(x)
    window, ones = (1,) * (x.ndim - 1) + (size,), (1,) * x.ndim
    edges = ((0, 0),) * (x.ndim - 1) + ((size // 2, (size - 1) // 2),)
    total = jax.lax.reduce_window(jnp.square(wide), np.array(0, wide.dtype), jax.lax.add, window, ones, edges)
    return (wide * (k + alpha / size * total) ** -beta).astype(x.dtype)

"""Dropout and stochastic depth, drawn example by example from global positions: the same on any number of devices."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision import axis
from jaxvision.typing import Array


def _keep_per_example(key, x: Array, shape: tuple[int, ...], rate: float) -> Array:
    """Bernoulli(1 - rate) of [B, *shape]; example i's draw folds in its position in the global batch."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, axis.position(x.shape[0]))
    return jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, shape))(keys)


def _check_rate(rate: float) -> None:
    if not 0 <= rate < 1:
        raise ValueError(f"rate: found {rate}, expected at least 0 and less than 1")


class Dropout(nn.Module):
    """Zeroes each entry with probability ``rate`` in training and divides the rest by 1 - rate, so that the expectation stays.

    (Srivastava et al., 2014, in its inverted form.) Draws from the rng stream "dropout"; x is [B, ...].
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        _check_rate(self.rate)
        if not train or self.rate == 0:
            return x
        keep = _keep_per_example(self.make_rng("dropout"), x, x.shape[1:], self.rate)
        return jnp.where(keep, x / (1 - self.rate), 0).astype(x.dtype)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., 2016): drops an example's whole branch with probability ``rate``; x is [B, ...]."""

    rate: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        _check_rate(self.rate)
        if not train or self.rate == 0:
            return x
        keep = _keep_per_example(self.make_rng("dropout"), x, (1,) * (x.ndim - 1), self.rate)
        return jnp.where(keep, x / (1 - self.rate), 0).astype(x.dtype)

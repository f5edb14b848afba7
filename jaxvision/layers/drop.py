"""Dropout and stochastic depth, drawn example by example from global positions: the same on any number of devices."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision import axis
from jaxvision.typing import Array


def _drop(module: nn.Module, x: Array, shape: tuple[int, ...], *, train: bool) -> Array:
    """x [B, ...] times an independent Bernoulli(1 - rate) / (1 - rate) of [B, *shape]; example i's draw folds in its global position."""
    if not 0 <= module.rate < 1:
        raise ValueError(f"rate: found {module.rate}, expected at least 0 and less than 1")
    if not train or module.rate == 0:
        return x
    keys = axis.example_keys(module.make_rng("dropout"), x.shape[0])
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - module.rate, shape))(keys)
    return jnp.where(keep, x / (1 - module.rate), 0).astype(x.dtype)


class Dropout(nn.Module):
    """Zeroes each entry with probability ``rate`` in training and divides the rest by 1 - rate, so that the expectation stays.

    (Srivastava et al., 2014, in its inverted form.) Draws from the rng stream "dropout"; x is [B, ...].
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        return _drop(self, x, x.shape[1:], train=train)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., 2016): drops an example's whole branch with probability ``rate``; x is [B, ...]."""

    rate: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        return _drop(self, x, (1,) * (x.ndim - 1), train=train)


def drop_path_rates(last: float, depths: tuple[int, ...]) -> tuple[tuple[float, ...], ...]:
    """Rates for the blocks of each stage, rising linearly over all blocks from 0 for the first to ``last``."""
    rates = [last * block / max(sum(depths) - 1, 1) for block in range(sum(depths))]
    return tuple(tuple(rates[sum(depths[:stage]) : sum(depths[: stage + 1])]) for stage in range(len(depths)))

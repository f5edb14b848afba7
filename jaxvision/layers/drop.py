"""Dropout and stochastic depth. Each example's draw depends on its position in the global batch, not on the number of devices."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision import axis
from jaxvision.typing import Array


def _drop(module: nn.Module, x: Array, shape: tuple[int, ...], *, train: bool) -> Array:
    """x [B, ...] times an independent Bernoulli(1 - rate) / (1 - rate) of [B, *shape]; each key folds in a global position."""
    if not 0 <= module.rate < 1:
        raise ValueError(f"rate: found {module.rate}, expected at least 0 and less than 1")
    if not train or module.rate == 0:
        return x
    keys = axis.example_keys(module.make_rng("dropout"), x.shape[0])
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - module.rate, shape))(keys)
    return jnp.where(keep, x / (1 - module.rate), 0).astype(x.dtype)


class Dropout(nn.Module):
    """Dropout: in training, set each entry of x [B, ...] to zero with probability ``rate`` and divide the others by 1 - rate.

    The expectation is that of x. In evaluation it is the identity. It draws from the random stream "dropout". Raises ValueError unless
    0 <= rate < 1. Source: Srivastava et al., "Dropout", 2014 (this is the inverted form, section 10).

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> layer, x = jv.layers.Dropout(rate=0.5), jax.numpy.ones((2, 64))
    >>> sorted(set(layer.apply({}, x, train=True, rngs={"dropout": jax.random.key(0)}).ravel().tolist()))
    [0.0, 2.0]
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        return _drop(self, x, x.shape[1:], train=train)


class DropPath(nn.Module):
    """Stochastic depth: in training, set the whole branch x [B, ...] of an example to zero with probability ``rate``.

    The branches of the other examples are divided by 1 - rate. In evaluation it is the identity. It draws from the random stream "dropout".
    Raises ValueError unless 0 <= rate < 1. Source: Huang et al., "Deep Networks with Stochastic Depth", 2016, equation 2.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> layer, branch = jv.layers.DropPath(rate=0.5), jax.numpy.ones((64, 2))
    >>> output = layer.apply({}, branch, train=True, rngs={"dropout": jax.random.key(0)})
    >>> sorted(set(map(tuple, output.tolist())))
    [(0.0, 0.0), (2.0, 2.0)]
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        return _drop(self, x, (1,) * (x.ndim - 1), train=train)


def drop_path_rates(last: float, depths: tuple[int, ...]) -> tuple[tuple[float, ...], ...]:
    """Drop rates of the blocks of each stage, which rise linearly over all blocks from 0 to ``last``.

    ``depths``: blocks of each stage. Source: Huang et al., 2016, equation 4.

    >>> import jaxvision as jv
    >>> jv.layers.drop_path_rates(0.75, (2, 2))
    ((0.0, 0.25), (0.5, 0.75))
    """
    rates = [last * block / max(sum(depths) - 1, 1) for block in range(sum(depths))]
    return tuple(tuple(rates[sum(depths[:stage]) : sum(depths[: stage + 1])]) for stage in range(len(depths)))

"""Inception's blocks (Szegedy et al., 2015) from tables: chains of convolutions and poolings, and parallel branches of chains.

A step of a chain is a tuple:

* (features, kernel_size[, stride[, padding]]): a convolution; by default the padding keeps the size.
* ("max", size, stride, padding), ("average", size, stride, padding): a pooling; "max_ceil" rounds the output size up, "average_inside"
  does not count the padding.
* ("response",): local response normalization.
* ("fork", step, step): two convolutions of the same map, concatenated along the channels.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxvision.layers import ConvNorm, average_pool, local_response_norm, max_pool
from jaxvision.layers.initializers import torch_default
from jaxvision.typing import Array


def _without_parameters(x: Array, kind: str, size: int = 0, stride: int = 1, padding: int = 0) -> Array:
    """A pooling or response normalization."""
    if kind == "response":
        return local_response_norm(x)
    if kind.startswith("max"):
        return max_pool(x, size, stride=stride, padding=padding, ceil=kind == "max_ceil")
    return average_pool(x, size, stride=stride, padding=padding, count_padding=kind == "average")


class Chain(nn.Module):
    """Steps in sequence, x [B, H, W, C] -> [B, h, w, D]; convolutions are ``conv1``, ``conv2``..., in a fork ``conv2a`` and ``conv2b``."""

    steps: tuple[tuple, ...]
    use_norm: bool = True
    epsilon: float = 1e-3
    dtype: Any = None
    kernel_init: Callable = torch_default

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        options = {"epsilon": self.epsilon, "use_norm": self.use_norm, "dtype": self.dtype, "kernel_init": self.kernel_init}
        count = 0
        for step in self.steps:
            kind, *rest = step
            if isinstance(kind, str) and kind != "fork":
                x = _without_parameters(x, kind, *rest)
                continue
            count += 1
            fork = {f"conv{count}{letter}": row for letter, row in zip("ab", rest)} if kind == "fork" else {f"conv{count}": step}
            x = jnp.concatenate([ConvNorm(*row, name=name, **options)(x, train=train) for name, row in fork.items()], axis=-1)
        return x


class Branches(nn.Module):
    """Parallel chains ``branch1``, ``branch2``... of the same map, concatenated along the channels."""

    chains: tuple[tuple[tuple, ...], ...]
    use_norm: bool = True
    epsilon: float = 1e-3
    dtype: Any = None
    kernel_init: Callable = torch_default

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        options = (self.use_norm, self.epsilon, self.dtype, self.kernel_init)
        outputs = [Chain(steps, *options, name=f"branch{index}")(x, train=train) for index, steps in enumerate(self.chains, 1)]
        return jnp.concatenate(outputs, axis=-1)

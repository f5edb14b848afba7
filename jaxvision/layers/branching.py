"""Chains of convolutions and poolings written as data, and several side by side: Inception's blocks (Szegedy et al., 2015).

A step is a tuple: (features, kernel_size[, stride[, padding]]) a convolution, whose padding keeps the size unless it is given;
("max", size, stride, padding) and ("average", size, stride, padding) a pooling, "max_ceil" where windows may hang over the edge,
"average_inside" where zeros beyond it do not count; ("response",) response normalisation; ("fork", step, step) two convolutions of the
same map, one behind the other in the channels.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxvision.layers.conv_norm import ConvNorm
from jaxvision.layers.initializers import torch_default
from jaxvision.layers.pooling import average_pool, max_pool
from jaxvision.layers.response_norm import local_response_norm
from jaxvision.typing import Array


def _plain(x: Array, kind: str, size: int = 0, stride: int = 1, padding: int = 0) -> Array:
    """A step that has no parameters."""
    if kind == "response":
        return local_response_norm(x)
    if kind.startswith("max"):
        return max_pool(x, size, stride=stride, padding=padding, ceil=kind == "max_ceil")
    return average_pool(x, size, stride=stride, padding=padding, count_padding=kind == "average")


class Chain(nn.Module):
    """Steps one after the other; the convolutions are ``conv1``, ``conv2``..., those of a fork ``conv2a`` and ``conv2b``."""

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
                x = _plain(x, kind, *rest)
                continue
            count += 1
            fork = {f"conv{count}{letter}": row for letter, row in zip("ab", rest)} if kind == "fork" else {f"conv{count}": step}
            x = jnp.concatenate([ConvNorm(*row, name=name, **options)(x, train=train) for name, row in fork.items()], axis=-1)
        return x


class Branches(nn.Module):
    """Chains of the same map, side by side in the channels: ``branch1``, ``branch2``..."""

    chains: tuple[tuple[tuple, ...], ...]
    use_norm: bool = True
    epsilon: float = 1e-3
    dtype: Any = None
    kernel_init: Callable = torch_default

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        options = (self.use_norm, self.epsilon, self.dtype, self.kernel_init)
        found = [Chain(steps, *options, name=f"branch{index}")(x, train=train) for index, steps in enumerate(self.chains, 1)]
        return jnp.concatenate(found, axis=-1)

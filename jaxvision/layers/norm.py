"""Normalisation: statistics are always computed in float32 or wider, over the global batch where they see it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision import axis, kernels
from jaxvision.typing import Array, at_least_float32


def _over_shards(x: Array) -> tuple[Array, Array]:
    """Mean and variance [C] over all axes but the last and all shards: about the mean of all, not each shard's own, as on one device."""
    over = tuple(range(x.ndim - 1))
    mean = axis.mean(jnp.mean(x, axis=over))
    return mean, axis.mean(jnp.mean(jnp.square(x - mean), axis=over))


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy, 2015) over all axes but the last, with PyTorch's conventions.

    In training the statistics are those of the global batch, on any number of devices; the running ``mean`` and ``var`` (unbiased) in
    the collection ``batch_stats`` move by ``momentum`` towards them. In evaluation the running ones are used.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5
    dtype: Any = None
    scale_init: Callable = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        features = x.shape[-1]
        scale = self.param("scale", self.scale_init, (features,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (features,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (features,), jnp.float32)
        dtype, x = self.dtype or x.dtype, at_least_float32(x)
        if train:
            mean, var = kernels.moments(x) if axis.size() == 1 else _over_shards(x)
            count = x.size // features * axis.size()
            if not self.is_initializing():
                unbiased = var * (count / max(count - 1, 1))
                running_mean.value += self.momentum * (jax.lax.stop_gradient(mean) - running_mean.value)
                running_var.value += self.momentum * (jax.lax.stop_gradient(unbiased) - running_var.value)
        else:
            mean, var = running_mean.value, running_var.value
        return kernels.rescaled(x, mean, scale * jax.lax.rsqrt(var + self.epsilon), bias).astype(dtype)


def _affine(module: nn.Module, channels: int) -> tuple[Array, Array]:
    """The parameters ``scale`` and ``bias`` [C]."""
    scale = module.param("scale", nn.initializers.ones, (channels,), jnp.float32)
    return scale, module.param("bias", nn.initializers.zeros, (channels,), jnp.float32)


class LayerNorm(nn.Module):
    """Layer normalisation (Ba et al., 2016) over the last axis; ``epsilon`` 1e-6 as transformers for vision have it."""

    epsilon: float = 1e-6
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        normed = kernels.layer_norm(at_least_float32(x), *_affine(self, x.shape[-1]), epsilon=self.epsilon)
        return normed.astype(self.dtype or x.dtype)


class GroupNorm(nn.Module):
    """Group normalisation (Wu & He, 2018): x [B, ..., C], each example over all places of each of ``groups`` runs of channels.

    One group: layer normalisation over H, W and C. As many groups as channels: instance normalisation (Ulyanov et al., 2016), which
    ``groups`` 0 stands for. Raises ValueError where the groups do not divide the channels.
    """

    groups: int = 32
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        groups = self.groups or channels
        if groups < 0 or channels % groups:
            raise ValueError(f"groups: {groups} do not divide the {channels} channels")
        split = at_least_float32(x).reshape(*x.shape[:-1], groups, channels // groups)  # [B, ..., groups, C / groups]
        over = (*range(1, split.ndim - 2), split.ndim - 1)
        scale, bias = _affine(self, channels)
        return (kernels.standardized(split, over, self.epsilon).reshape(x.shape) * scale + bias).astype(self.dtype or x.dtype)

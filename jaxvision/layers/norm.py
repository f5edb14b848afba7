"""Normalization layers. Statistics are computed in at least float32; BatchNorm computes them over the global batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxvision import axis, kernels
from jaxvision.typing import Array, at_least_float32


def _global_moments(x: Array) -> tuple[Array, Array]:
    """Mean and variance [C] over all axes but the last and over all shards; the variance is about the global mean, as on one device."""
    over = tuple(range(x.ndim - 1))
    mean = axis.mean(jnp.mean(x, axis=over))
    return mean, axis.mean(jnp.mean(jnp.square(x - mean), axis=over))


class BatchNorm(nn.Module):
    r"""Batch normalization over all axes but the last: (x - mean) / sqrt(var + epsilon) * scale + bias, for x [..., C].

    In training, mean and variance are those of the global batch, on any number of devices, and the running ``mean`` and ``var`` (unbiased)
    in the collection ``batch_stats`` become (1 - momentum) * running + momentum * batch, which is PyTorch's convention. In evaluation the
    running statistics are used. Source: Ioffe & Szegedy, "Batch Normalization", 2015, algorithms 1 and 2.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> norm, x = jv.layers.BatchNorm(), jax.numpy.array([[1.0], [3.0]])
    >>> variables = norm.init(jax.random.key(0), x, train=False)
    >>> output, updated = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    >>> output.round(3).tolist(), round(float(updated["batch_stats"]["mean"][0]), 3)
    ([[-1.0], [1.0]], 0.2)
    """

    momentum: float = 0.1
    epsilon: float = 1e-5
    dtype: Any = None
    scale_init: Callable = nn.initializers.ones
    affine: bool = True  # False: no scale and bias, as PyTorch's affine=False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        features = x.shape[-1]
        scale, bias = jnp.ones(features), jnp.zeros(features)
        if self.affine:
            scale = self.param("scale", self.scale_init, (features,), jnp.float32)
            bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (features,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (features,), jnp.float32)
        dtype, x = self.dtype or x.dtype, at_least_float32(x)
        if train:
            mean, var = kernels.moments(x) if axis.size() == 1 else _global_moments(x)
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
    """Layer normalization over the last axis: (x - mean) / sqrt(var + epsilon) * scale + bias, for x [..., C].

    ``epsilon`` is 1e-6, as in vision transformers (PyTorch's default is 1e-5). Source: Ba et al., "Layer Normalization", 2016, equation 4.

    >>> import jax
    >>> import jaxvision as jv
    >>> norm, x = jv.layers.LayerNorm(), jax.numpy.array([[1.0, 3.0]])
    >>> norm.init_with_output(jax.random.key(0), x)[0].round(3).tolist()
    [[-1.0, 1.0]]
    """

    epsilon: float = 1e-6
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        normed = kernels.layer_norm(at_least_float32(x), *_affine(self, x.shape[-1]), epsilon=self.epsilon)
        return normed.astype(self.dtype or x.dtype)


class GroupNorm(nn.Module):
    """Group normalization: normalize each example over all positions and over each group of adjacent channels, for x [B, ..., C].

    One group gives layer normalization over H, W and C. ``groups=0`` stands for C groups, which is instance normalization (Ulyanov et al.,
    2016). Raises ValueError if ``groups`` does not divide C. Source: Wu & He, "Group Normalization", 2018, equations 1 to 6.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> norm, x = jv.layers.GroupNorm(groups=2), jax.numpy.array([[1.0, 3.0, 5.0, 9.0]])
    >>> norm.init_with_output(jax.random.key(0), x)[0].round(3).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
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


def _norm_of_squares(square: Array) -> Array:
    """The square root, with gradient 0 at 0. The plain square root would give NaN for a channel that is zero everywhere."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)


class GlobalResponseNorm(nn.Module):
    """Global response normalization (GRN): x -> x + scale * x * n + bias, for x [B, h, w, C].

    n [B, 1, 1, C] is the L2 norm of each channel over all positions, divided by the mean of these norms over channels plus ``epsilon``.
    ``scale`` and ``bias`` [C] begin at zero, so the layer begins as the identity. ``visible`` [B, h, w, 1] (None: all True) selects the
    positions that the norms are computed over. Sums are in at least float32. Raises ValueError for other shapes. Source: Woo et al.,
    "ConvNeXt V2", 2023, section 3.3.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> norm, x = jv.layers.GlobalResponseNorm(), jax.numpy.ones((1, 2, 2, 3))
    >>> float(norm.init_with_output(jax.random.key(0), x)[0].mean())
    1.0
    """

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Array, visible: Array | None = None) -> Array:
        if x.ndim != 4:
            raise ValueError(f"x: found shape {x.shape}, expected [B, h, w, C]")
        if visible is not None and visible.shape != (*x.shape[:3], 1):
            raise ValueError(f"visible: found shape {visible.shape}, expected {(*x.shape[:3], 1)}: True or False for each position of x")
        scale = self.param("scale", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        wide = at_least_float32(x)
        counted = wide if visible is None else jnp.where(visible, wide, 0)
        norm = _norm_of_squares(jnp.sum(jnp.square(counted), axis=(1, 2), keepdims=True))  # [B, 1, 1, C]
        relative = norm / (jnp.mean(norm, axis=-1, keepdims=True) + self.epsilon)
        return (wide * (1 + scale * relative) + bias).astype(x.dtype)


def local_response_norm(x: Array, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> Array:
    """Local response normalization: x / (k + alpha / size * s)^beta, where s sums the squares of ``size`` adjacent channels.

    x is [..., C]; the computation is in at least float32. Source: Krizhevsky et al., "ImageNet Classification with Deep Convolutional
    Neural Networks", 2012, section 3.3. The paper's formula has alpha in place of alpha / size, which is Caffe's and PyTorch's form.

    >>> import jaxvision as jv
    >>> import jax.numpy as jnp
    >>> jv.layers.local_response_norm(jnp.ones((1, 2)), size=1, alpha=3.0, beta=1.0, k=1.0).round(2).tolist()
    [[0.25, 0.25]]
    """
    wide = at_least_float32(x)
    window, ones = (1,) * (x.ndim - 1) + (size,), (1,) * x.ndim
    edges = ((0, 0),) * (x.ndim - 1) + ((size // 2, (size - 1) // 2),)
    total = jax.lax.reduce_window(jnp.square(wide), np.array(0, wide.dtype), jax.lax.add, window, ones, edges)
    return (wide * (k + alpha / size * total) ** -beta).astype(x.dtype)

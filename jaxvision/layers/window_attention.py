"""Self-attention within (shifted) windows of a map, with learned relative positions (Liu et al., "Swin Transformer", 2021)."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxvision.layers.attention import attend
from jaxvision.layers.initializers import truncated_normal
from jaxvision.layers.linear import Dense
from jaxvision.typing import Array

_SHIFT_MASK = -100.0  # added to the score of two positions that are adjacent only after the cyclic shift; the value of the paper's code


def relative_index(window: int) -> np.ndarray:
    """[n, n], n = window^2: the index of the offset between two positions among all (2 window - 1)^2 offsets, rows first."""
    positions = np.stack(np.divmod(np.arange(window**2), window), axis=-1)  # [n, 2]
    offset = positions[:, None] - positions[None] + window - 1
    return offset[..., 0] * (2 * window - 1) + offset[..., 1]


def partition(x: Array, window: int) -> Array:
    """Split a map [B, H, W, C] into windows in row order [B H W / n, n, C], n = window^2; ``window`` divides H and W."""
    batch, height, width, features = x.shape
    x = x.reshape(batch, height // window, window, width // window, window, features)  # [B, H / w, w, W / w, w, C]
    return x.swapaxes(2, 3).reshape(-1, window**2, features)  # [B H W / n, n, C]


def merge(windows: Array, window: int, height: int, width: int) -> Array:
    """The inverse of ``partition``: windows [B H W / n, n, C] -> [B, H, W, C]."""
    features = windows.shape[-1]
    x = windows.reshape(-1, height // window, width // window, window, window, features)  # [B, H / w, W / w, w, w, C]
    return x.swapaxes(2, 3).reshape(-1, height, width, features)  # [B, H, W, C]


def _shift_bias(height: int, width: int, window: int, shifts: tuple[int, int]) -> np.ndarray:
    """[windows, 1, n, n]: 0 if two positions of a window were adjacent before the shift, else ``_SHIFT_MASK``."""
    ids = np.zeros((1, height, width, 1), np.int64)
    for axis, (extent, shift) in enumerate(zip((height, width), shifts, strict=True), 1):
        borders = (np.arange(extent) >= extent - window).astype(np.int64) + (np.arange(extent) >= extent - shift)
        ids = 3 * ids + borders.reshape([-1 if index == axis else 1 for index in range(4)])
    ids = partition(ids, window)[..., 0]  # [windows, n]
    return np.where(ids[:, :, None] == ids[:, None, :], 0.0, _SHIFT_MASK).astype(np.float32)[:, None]


class WindowAttention(nn.Module):
    """Self-attention within each ``window`` x ``window`` window of a map: x [B, H, W, D] -> [B, H, W, D].

    The map is padded with zeros at the bottom and right to multiples of ``window``, and rolled by ``shift`` along each axis that is longer
    than one window. The parameter ``position`` [(2 window - 1)^2, heads] holds the bias of each relative position. Raises ValueError if
    ``heads`` does not divide D. Source: Liu et al., "Swin Transformer", 2021, section 3.2, equation 4.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> layer, x = jv.layers.WindowAttention(heads=2, window=2, shift=1), jax.numpy.ones((1, 4, 5, 4))
    >>> layer.init_with_output(jax.random.key(0), x)[0].shape
    (1, 4, 5, 4)
    """

    heads: int
    window: int
    shift: int = 0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        batch, height, width, features = x.shape
        if features % self.heads:
            raise ValueError(f"heads: {self.heads} does not divide the width {features}")
        window, count = self.window, self.window**2
        padded = tuple(-(-extent // window) * window for extent in (height, width))
        shifts = tuple(self.shift if extent > window else 0 for extent in padded)
        x = jnp.pad(x, ((0, 0), (0, padded[0] - height), (0, padded[1] - width), (0, 0)))
        x = partition(jnp.roll(x, (-shifts[0], -shifts[1]), (1, 2)), window)
        table = self.param("position", truncated_normal(), ((2 * window - 1) ** 2, self.heads), jnp.float32)
        bias = table[relative_index(window)].transpose(2, 0, 1)[None]  # [1, h, n, n]
        if any(shifts):
            bias = bias + _shift_bias(*padded, window, shifts)
            bias = jnp.broadcast_to(bias, (batch, *bias.shape)).reshape(len(x), self.heads, count, count)
        options = {"dtype": self.dtype, "kernel_init": truncated_normal(), "bias_init": nn.initializers.zeros}
        qkv = Dense(3 * features, name="qkv", **options)(x)
        qkv = qkv.reshape(len(x), count, 3, self.heads, features // self.heads)  # [B windows, n, 3, h, d]
        attended = attend(self, qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], bias)
        attended = Dense(features, name="project", **options)(attended)  # [B windows, n, D]
        return jnp.roll(merge(attended, window, *padded), shifts, (1, 2))[:, :height, :width]

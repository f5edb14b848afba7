"""Pooling with PyTorch's conventions: explicit padding, windows that may hang over the edge, and a grid of any size."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import kernels
from jaxvision.typing import Array, at_least_float32


def _edges(extent: int, size: int, stride: int, padding: int, ceil: bool) -> tuple[int, int]:
    """Padding before and after; with ``ceil`` a last window may hang over the edge, but must begin inside the image."""
    if not ceil:
        return padding, padding
    count = -(-(extent + 2 * padding - size) // stride) + 1
    count -= (count - 1) * stride >= extent + padding
    return padding, max((count - 1) * stride + size - extent - padding, 0)


def _padding(x: Array, size: int, stride: int, padding: int, ceil: bool) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows before and after, columns before and after."""
    rows, columns = (_edges(extent, size, stride, padding, ceil) for extent in x.shape[1:3])
    for extent, (before, after) in zip(x.shape[1:3], (rows, columns), strict=True):
        if extent + before + after < size:
            raise ValueError(f"x: found {x.shape}, smaller than a pooling window of {size} x {size}; a larger image is needed")
    return rows, columns


def max_pool(x: Array, size: int, *, stride: int, padding: int = 0, ceil: bool = False) -> Array:
    """The largest of each window: [B, H, W, C] -> [B, h, w, C], h = floor((H + 2 padding - size) / stride) + 1.

    With ``ceil`` h is rounded up instead. Raises ValueError where the image is smaller than the window.
    """
    return kernels.max_pool(x, size=(size, size), stride=(stride, stride), padding=_padding(x, size, stride, padding, ceil))


def average_pool(x: Array, size: int, *, stride: int, padding: int = 0, count_padding: bool = True) -> Array:
    """The mean of each window, summed in at least float32; zeros beyond the edge count unless ``count_padding`` is False."""
    wide = at_least_float32(x)
    edges = ((0, 0), *_padding(x, size, stride, padding, False), (0, 0))
    windows = {"window_dimensions": (1, size, size, 1), "window_strides": (1, stride, stride, 1), "padding": edges}
    total = jax.lax.reduce_window(wide, np.array(0, wide.dtype), jax.lax.add, **windows)
    if count_padding:
        return (total / size**2).astype(x.dtype)
    inside = jax.lax.reduce_window(jnp.ones((1, *x.shape[1:3], 1), wide.dtype), np.array(0, wide.dtype), jax.lax.add, **windows)
    return (total / inside).astype(x.dtype)


def _bins(extent: int, count: int) -> np.ndarray:
    """[count, extent]: bin i averages the places from floor(i extent / count) to ceil((i + 1) extent / count)."""
    weights = np.zeros((count, extent))
    for index in range(count):
        begin, end = index * extent // count, -(-(index + 1) * extent // count)
        weights[index, begin:end] = 1 / (end - begin)
    return weights


def grid_pool(x: Array, rows: int, columns: int) -> Array:
    """Means over a grid of ``rows`` x ``columns`` bins of nearly equal size, for any image: [B, H, W, C] -> [B, rows, columns, C]."""
    if x.shape[1:3] == (rows, columns):
        return x
    wide = at_least_float32(x)
    down, across = (jnp.asarray(_bins(*pair), wide.dtype) for pair in ((x.shape[1], rows), (x.shape[2], columns)))
    return jnp.einsum("bhwc,ih,jw->bijc", wide, down, across, precision="highest").astype(x.dtype)


def global_mean(x: Array) -> Array:
    """The mean over all places, in at least float32: [B, h, w, C] -> [B, C]."""
    return jnp.mean(at_least_float32(x), axis=(1, 2))

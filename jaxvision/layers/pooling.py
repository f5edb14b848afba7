"""Pooling with PyTorch's conventions: explicit padding, ceil mode, and adaptive pooling to a grid of any size."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import kernels
from jaxvision.typing import Array, at_least_float32


def _edges(extent: int, size: int, stride: int, padding: int, ceil: bool) -> tuple[int, int]:
    """Padding before and after one axis; with ``ceil`` the last window may extend past the edge but begins inside the padded image."""
    if not ceil:
        return padding, padding
    count = -(-(extent + 2 * padding - size) // stride) + 1
    count -= (count - 1) * stride >= extent + padding
    return padding, max((count - 1) * stride + size - extent - padding, 0)


def _padding(x: Array, size: int, stride: int, padding: int, ceil: bool) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)); raise ValueError for an image smaller than the window."""
    rows, columns = (_edges(extent, size, stride, padding, ceil) for extent in x.shape[1:3])
    for extent, (before, after) in zip(x.shape[1:3], (rows, columns), strict=True):
        if extent + before + after < size:
            raise ValueError(f"x: found {x.shape}, smaller than a pooling window of {size} x {size}; a larger image is needed")
    return rows, columns


def max_pool(x: Array, size: int, *, stride: int, padding: int = 0, ceil: bool = False) -> Array:
    """Max pooling over ``size`` x ``size`` windows: [B, H, W, C] -> [B, h, w, C], h = floor((H + 2 padding - size) / stride) + 1.

    With ``ceil=True`` the division is rounded up (PyTorch's ``ceil_mode``). Raises ValueError if the image is smaller than a window.

    >>> import jaxvision as jv
    >>> import jax.numpy as jnp
    >>> jv.layers.max_pool(jnp.arange(4.0).reshape(1, 4, 1, 1).repeat(2, axis=2), 2, stride=2).ravel().tolist()
    [1.0, 3.0]
    """
    return kernels.max_pool(x, size=(size, size), stride=(stride, stride), padding=_padding(x, size, stride, padding, ceil))


def average_pool(x: Array, size: int, *, stride: int, padding: int = 0, count_padding: bool = True) -> Array:
    """Average pooling over ``size`` x ``size`` windows: [B, H, W, C] -> [B, h, w, C], h as in ``max_pool``.

    Sums are in at least float32. With ``count_padding=False`` the divisor of a window counts positions inside the image only. Raises
    ValueError if the image is smaller than a window.

    >>> import jaxvision as jv
    >>> import jax.numpy as jnp
    >>> jv.layers.average_pool(jnp.arange(4.0).reshape(1, 4, 1, 1).repeat(2, axis=2), 2, stride=2).ravel().tolist()
    [0.5, 2.5]
    """
    wide = at_least_float32(x)
    edges = ((0, 0), *_padding(x, size, stride, padding, False), (0, 0))
    windows = {"window_dimensions": (1, size, size, 1), "window_strides": (1, stride, stride, 1), "padding": edges}
    total = jax.lax.reduce_window(wide, np.array(0, wide.dtype), jax.lax.add, **windows)
    if count_padding:
        return (total / size**2).astype(x.dtype)
    inside = jax.lax.reduce_window(jnp.ones((1, *x.shape[1:3], 1), wide.dtype), np.array(0, wide.dtype), jax.lax.add, **windows)
    return (total / inside).astype(x.dtype)


def _bins(extent: int, count: int) -> np.ndarray:
    """Weights [count, extent]: bin i averages the positions from floor(i extent / count) to ceil((i + 1) extent / count)."""
    weights = np.zeros((count, extent))
    for index in range(count):
        begin, end = index * extent // count, -(-(index + 1) * extent // count)
        weights[index, begin:end] = 1 / (end - begin)
    return weights


def grid_pool(x: Array, rows: int, columns: int) -> Array:
    """Adaptive average pooling to a fixed grid: [B, H, W, C] -> [B, rows, columns, C], for any H and W.

    Bin i of an axis of length n averages the positions from floor(i n / rows) to ceil((i + 1) n / rows), as in PyTorch.

    >>> import jaxvision as jv
    >>> import jax.numpy as jnp
    >>> jv.layers.grid_pool(jnp.arange(4.0).reshape(1, 4, 1, 1), 2, 1).ravel().tolist()
    [0.5, 2.5]
    """
    if x.shape[1:3] == (rows, columns):
        return x
    wide = at_least_float32(x)
    down, across = (jnp.asarray(_bins(*pair), wide.dtype) for pair in ((x.shape[1], rows), (x.shape[2], columns)))
    return jnp.einsum("bhwc,ih,jw->bijc", wide, down, across, precision="highest").astype(x.dtype)


def global_mean(x: Array) -> Array:
    """Global average pooling, in at least float32: [B, h, w, C] -> [B, C].

    >>> import jaxvision as jv
    >>> import jax.numpy as jnp
    >>> jv.layers.global_mean(jnp.arange(4.0).reshape(1, 2, 2, 1)).tolist()
    [[1.5]]
    """
    return jnp.mean(at_least_float32(x), axis=(1, 2))

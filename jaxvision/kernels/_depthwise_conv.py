"""Depthwise convolution: every channel has a filter of its own.

XLA's own falls into a scalar loop on CPU, tens of times slower than a vectorised one. Where compiled kernels were built they compute it and
both its gradients; where not, it is a sum of shifted products, one a tap, which XLA vectorises. Elsewhere it is XLA's convolution.
"""

import jax.numpy as jnp

from jaxvision.kernels import _primitive, native
from jaxvision.typing import Array

_TAPS = 64  # most columns of a filter that the compiled kernels take


def as_shifts(image: Array, kernel: Array, *, stride: tuple[int, int], padding: tuple[int, int]) -> Array:
    """The sum over taps of the shifted image times the tap's weights: [B, H, W, C], [kh, kw, 1, C] -> [B, h, w, C]."""
    rows, columns = (
        (size + 2 * pad - taps) // step + 1
        for size, pad, taps, step in zip(image.shape[1:3], padding, kernel.shape[:2], stride, strict=True)
    )
    padded = jnp.pad(image, ((0, 0), (padding[0], padding[0]), (padding[1], padding[1]), (0, 0)))
    total = 0
    for row in range(kernel.shape[0]):
        for column in range(kernel.shape[1]):
            bottom, right = row + (rows - 1) * stride[0] + 1, column + (columns - 1) * stride[1] + 1
            total += padded[:, row : bottom : stride[0], column : right : stride[1]] * kernel[row, column, 0]
    return total


_convolve = _primitive.compiled_convolution("jaxvision_depthwise", "bijc klmc bpqc")


def compiled(image: Array, kernel: Array) -> bool:
    """Whether the compiled kernels take this convolution."""
    return native.wanted(image, kernel) and kernel.shape[1] <= _TAPS


def as_compiled(image: Array, kernel: Array, *, stride: tuple[int, int], padding: tuple[int, int]) -> Array:
    """The compiled kernels: [B, H, W, C], [kh, kw, 1, C] -> [B, h, w, C], float32, where ``compiled`` says so."""
    return _convolve(image, kernel, stride, padding)

"""Depthwise convolution: every channel has a filter of its own.

XLA's own falls into a scalar loop on CPU, tens of times slower than a vectorised one. Where compiled kernels were built they compute it and
both its gradients; where not, it is a sum of shifted products, one a tap, which XLA vectorises. Elsewhere it is XLA's convolution.
"""

import functools

import jax
import jax.numpy as jnp

from jaxvision.kernels import native
from jaxvision.kernels.parts import in_parts
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


def _called(target: str):
    return lambda a, b, shape, stride, padding: native.call(target, shape, a, b, stride=stride, padding=padding)


_forward = in_parts(_called("jaxvision_depthwise"), "bijc, klmc -> bpqc")
_image_gradient = in_parts(_called("jaxvision_depthwise_image_gradient"), "bpqc, klmc -> bijc")
_kernel_gradient = in_parts(_called("jaxvision_depthwise_kernel_gradient"), "bijc, bpqc -> klmc", summed=True)


# Three bilinear functions, each of whose gradients are the other two: they can be differentiated as often as one likes.
@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(image, kernel, stride, padding):
    size = ((extent + 2 * pad - taps) // step + 1 for extent, pad, taps, step in zip(image.shape[1:3], padding, kernel.shape, stride))
    return _forward(image, kernel, (image.shape[0], *size, image.shape[3]), stride, padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _to_image(gradient, kernel, shape, stride, padding):
    return _image_gradient(gradient, kernel, shape, stride, padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _to_kernel(image, gradient, shape, stride, padding):
    return _kernel_gradient(image, gradient, shape, stride, padding)


def _pair_of(function):
    return lambda a, b, *static: (function(a, b, *static), (a, b))


_convolve.defvjp(
    _pair_of(_convolve),
    lambda stride, padding, pair, cotangent: (
        _to_image(cotangent, pair[1], pair[0].shape, stride, padding),
        _to_kernel(pair[0], cotangent, pair[1].shape, stride, padding),
    ),
)
_to_image.defvjp(
    _pair_of(_to_image),
    lambda shape, stride, padding, pair, cotangent: (
        _convolve(cotangent, pair[1], stride, padding),
        _to_kernel(cotangent, pair[0], pair[1].shape, stride, padding),
    ),
)
_to_kernel.defvjp(
    _pair_of(_to_kernel),
    lambda shape, stride, padding, pair, cotangent: (
        _to_image(pair[1], cotangent, pair[0].shape, stride, padding),
        _convolve(pair[0], cotangent, stride, padding),
    ),
)


def compiled(image: Array, kernel: Array) -> bool:
    """Whether the compiled kernels take this convolution."""
    return native.wanted(image, kernel) and kernel.shape[1] <= _TAPS


def as_compiled(image: Array, kernel: Array, *, stride: tuple[int, int], padding: tuple[int, int]) -> Array:
    """The compiled kernels: [B, H, W, C], [kh, kw, 1, C] -> [B, h, w, C], float32, where ``compiled`` says so."""
    return _convolve(image, kernel, stride, padding)

"""Two-dimensional convolution: the one function behind every convolution layer.

1x1 and patch convolutions are matrix products (``_matmul.py``). Other dense and depthwise convolutions have compiled kernels on a CPU; all
else is XLA's own convolution. XLA computes depthwise convolutions on a CPU by a scalar loop, tens of times slower than vectorized code:
without compiled kernels they are sums of shifted products there.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxvision.kernels import native
from jaxvision.kernels._derivatives import Bilinear, bilinear
from jaxvision.kernels._matmul import product
from jaxvision.kernels._partitioning import fitted, in_parts
from jaxvision.kernels._primitive import Form, Kernel, always
from jaxvision.typing import Array, Float

_MOST_COLUMNS = 64  # of a filter that the compiled depthwise kernel takes


def _pair(name: str, value: int | tuple[int, int], least: int) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(isinstance(number, int) and number >= least for number in pair):
        raise ValueError(f"{name}: found {value!r}, expected an integer of at least {least}, or two (rows, columns)")
    return pair


def plain_conv2d(
    image: Float[Array, "B H W C"],
    kernel: Float[Array, "kh kw c D"],
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Float[Array, "B h w D"]:
    """The reference implementation of ``conv2d``, XLA's convolution with explicit padding, which every other form must equal.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.plain_conv2d(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 5))).shape
    (1, 2, 2, 5)
    """
    height, width = _pair("padding", padding, 0)
    return jax.lax.conv_general_dilated(
        image,
        kernel,
        _pair("stride", stride, 1),
        ((height, height), (width, width)),
        rhs_dilation=_pair("dilation", dilation, 1),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _dense(image: Array, kernel: Array, *, stride: tuple[int, int], padding: tuple[int, int], images: int) -> Array:
    return plain_conv2d(image, kernel, stride=stride, padding=padding)


def _depthwise(image: Array, kernel: Array, *, stride: tuple[int, int], padding: tuple[int, int], images: int) -> Array:
    return plain_conv2d(image, kernel, stride=stride, padding=padding, groups=image.shape[3])


def _depthwise_by_shifts(image: Array, kernel: Array, *, stride: tuple[int, int], padding: tuple[int, int], images: int) -> Array:
    """The sum over taps of the shifted image times the tap's weights."""
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


def _available(image: Array, kernel: Array, **options: Any) -> bool:
    return native.available(image, kernel)


def _depthwise_available(image: Array, kernel: Array, **options: Any) -> bool:
    return kernel.shape[1] <= _MOST_COLUMNS and native.available(image, kernel)


def _compiled(target: str, rule: str, reference: Callable) -> Callable[..., Array]:
    """The kernel ``target`` of a convolution, or with ``shape``, that of the result, of a gradient; ``rule`` names the axes.

    ``images`` is the number of images in the whole batch. With it the kernel chooses the same algorithm on any number of devices.
    """

    def compute(a: Array, b: Array, *, shape: tuple[int, ...] | None = None, **options: Any) -> Array:
        whole = jax.eval_shape(partial(reference, **options), a, b).shape if shape is None else shape

        def part(a, b):
            attributes = {"stride": options["stride"], "padding": options["padding"], "images": (options["images"],)}
            return native.call(target, fitted(whole, rule, a, b), **attributes)(a, b)[0]

        return in_parts(part, rule)(a, b)

    return compute


def _by_kernels(target: str, rule: str, reference: Callable) -> Bilinear:
    image, kernel, output = rule.replace(" -> ", ", ").split(", ")
    return Bilinear(
        _compiled(target, rule, reference),
        _compiled(f"{target}_image_gradient", f"{output}, {kernel} -> {image}", reference),
        _compiled(f"{target}_kernel_gradient", f"{image}, {output} -> {kernel}", reference),
    )


def _convolution(target: str, rule: str, reference: Callable, available: Callable, *others: Form) -> Kernel:
    """A convolution with options ``stride``, ``padding`` and ``images``: forms by compiled kernels, ``others``, the reference."""
    names = (target, f"{target}_image_gradient", f"{target}_kernel_gradient")
    compiled = Form("cpu", available, _by_kernels(target, rule, reference))
    return bilinear(names, rule, compiled, *others, Form(None, always, Bilinear(reference)), loops=True)


_dense_convolution = _convolution("jaxvision_dense", "bijm, klmn -> bpqn", _dense, _available)
_depthwise_convolution = _convolution(
    "jaxvision_depthwise",
    "bijc, klmc -> bpqc",
    _depthwise,
    _depthwise_available,
    Form("cpu", always, Bilinear(_depthwise_by_shifts)),
)


def _as_patches(image: Array, kernel: Array) -> Array:
    """A convolution whose stride is its kernel size, as one matrix product over patches."""
    height, width, channels, features = kernel.shape
    batch, rows, columns = image.shape[0], image.shape[1] // height, image.shape[2] // width
    image = image[:, : rows * height, : columns * width]  # no kernel reads the pixels that do not fill a patch
    patches = image.reshape(batch, rows, height, columns, width, channels).transpose(0, 1, 3, 2, 4, 5)
    patches = patches.reshape(batch, rows, columns, height * width * channels)  # [B, h, w, kh * kw * C]
    return product(patches, kernel.reshape(height * width * channels, features))


def _check(image: Array, kernel: Array, padding: tuple[int, int], dilation: tuple[int, int], groups: int) -> None:
    if image.ndim != 4 or kernel.ndim != 4:
        raise ValueError(f"image, kernel: found shapes {image.shape} and {kernel.shape}, expected [B, H, W, C] and [kh, kw, C / groups, D]")
    if groups < 1 or image.shape[3] != kernel.shape[2] * groups or kernel.shape[3] % groups:
        raise ValueError(
            f"groups: found image with {image.shape[3]} channels and kernel {kernel.shape} with groups={groups}, "
            f"expected {kernel.shape[2] * groups} channels and a number of features that groups divides"
        )
    for extent, length, pad, distance in zip(image.shape[1:3], kernel.shape[:2], padding, dilation, strict=True):
        if extent + 2 * pad < distance * (length - 1) + 1:
            found = f"{image.shape[1]} x {image.shape[2]} pixels with padding {padding}"
            raise ValueError(f"image: found {found}, expected at least the kernel's {kernel.shape[:2]} with dilation {dilation}")


def conv2d(
    image: Float[Array, "B H W C"],
    kernel: Float[Array, "kh kw c D"],
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Float[Array, "B h w D"]:
    """Convolves [B, H, W, C] with [kh, kw, C / groups, D]; ``padding`` counts zeros on both sides, as in PyTorch.

    h = floor((H + 2 padding - dilation (kh - 1) - 1) / stride) + 1, likewise w.
    Raises ValueError where ranks, channels or groups do not fit, or the padded image is smaller than the kernel.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.conv2d(jnp.ones((1, 8, 8, 2)), jnp.ones((3, 3, 2, 5)), stride=2, padding=1).shape
    (1, 4, 4, 5)
    """
    stride, padding, dilation = _pair("stride", stride, 1), _pair("padding", padding, 0), _pair("dilation", dilation, 1)
    _check(image, kernel, padding, dilation, groups)
    size, direct = kernel.shape[:2], groups == 1 and padding == (0, 0)
    if direct and size == (1, 1):
        return product(image[:, :: stride[0], :: stride[1]], kernel[0, 0])
    if direct and size == stride and dilation == (1, 1):
        return _as_patches(image, kernel)
    options = {"stride": stride, "padding": padding, "images": image.shape[0]}
    if dilation == (1, 1) and groups == image.shape[3] == kernel.shape[3] > 1:
        dtype = jnp.result_type(image, kernel)
        return _depthwise_convolution(image.astype(dtype), kernel.astype(dtype), **options)
    if dilation == (1, 1) and groups == 1:
        return _dense_convolution(image, kernel, **options)
    return plain_conv2d(image, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)

"""Two-dimensional convolution: the one function behind every convolution layer.

1x1 and patch convolutions are matrix products (``_matmul.py``), several times faster on CPU. Other dense and depthwise convolutions are
compiled kernels there (``_dense_conv.py``, ``_depthwise_conv.py``); the rest, and everything elsewhere, is XLA's own convolution.
"""

import jax

from jaxvision.kernels import _dense_conv, _depthwise_conv
from jaxvision.kernels._matmul import product
from jaxvision.typing import Array, Float


def _pair(name: str, value: int | tuple[int, int], least: int) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(isinstance(number, int) and number >= least for number in pair):
        raise ValueError(f"{name}: found {value!r}, expected an integer of at least {least}, or two (rows, columns)")
    return pair


def plain_conv2d(image, kernel, *, stride=1, padding=0, dilation=1, groups=1) -> Array:
    """XLA's convolution with explicit symmetric padding: the twin that every other form must equal."""
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


def _as_patches(image: Array, kernel: Array) -> Array:
    """A convolution whose stride is its kernel size, as one matrix product over patches."""
    height, width, channels, features = kernel.shape
    batch, rows, columns = image.shape[0], image.shape[1] // height, image.shape[2] // width
    image = image[:, : rows * height, : columns * width]  # what does not fill a patch is never read
    patches = image.reshape(batch, rows, height, columns, width, channels).transpose(0, 1, 3, 2, 4, 5)
    patches = patches.reshape(batch, rows, columns, height * width * channels)  # [B, h, w, kh * kw * C]
    return product(patches, kernel.reshape(height * width * channels, features))


def conv2d(
    image: Float[Array, "B H W C"],
    kernel: Float[Array, "kh kw c D"],
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Float[Array, "B h w D"]:
    """Convolve [B, H, W, C] with [kh, kw, C / groups, D]; ``padding`` zeros on both sides, PyTorch's convention.

    h = floor((H + 2 padding - dilation (kh - 1) - 1) / stride) + 1, likewise w.
    Raises ValueError where ranks, channels or groups do not fit, or the padded image is smaller than the kernel.
    """
    if image.ndim != 4 or kernel.ndim != 4:
        raise ValueError(f"image, kernel: found shapes {image.shape} and {kernel.shape}, expected [B, H, W, C] and [kh, kw, C / groups, D]")
    if groups < 1 or image.shape[3] != kernel.shape[2] * groups or kernel.shape[3] % groups:
        raise ValueError(
            f"image has {image.shape[3]} channels, kernel {kernel.shape} with groups={groups} expects {kernel.shape[2] * groups}"
        )
    size, stride, padding = kernel.shape[:2], _pair("stride", stride, 1), _pair("padding", padding, 0)
    dilation = _pair("dilation", dilation, 1)
    for extent, length, pad, spread in zip(image.shape[1:3], size, padding, dilation, strict=True):
        if extent + 2 * pad < spread * (length - 1) + 1:
            raise ValueError(f"image of {image.shape[1]} x {image.shape[2]} with padding {padding} is smaller than the kernel {size}")
    direct = groups == 1 and padding == (0, 0)
    if direct and size == (1, 1):
        return product(image[:, :: stride[0], :: stride[1]], kernel[0, 0])
    if direct and size == stride and dilation == (1, 1):
        return _as_patches(image, kernel)
    if dilation == (1, 1) and groups == image.shape[3] == kernel.shape[3] > 1 and jax.default_backend() == "cpu":
        form = _depthwise_conv.as_compiled if _depthwise_conv.compiled(image, kernel) else _depthwise_conv.as_shifts
        return form(image, kernel, stride=stride, padding=padding)
    if dilation == (1, 1) and groups == 1 and _dense_conv.compiled(image, kernel):
        return _dense_conv.as_compiled(image, kernel, stride=stride, padding=padding)
    return plain_conv2d(image, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)

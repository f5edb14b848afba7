"""Colour operations and the jitter of four of them: XLA passes over the batch for each, the compiled kernel twice over an image."""

import jax
import jax.numpy as jnp

from jaxvision.kernels import native
from jaxvision.kernels._partitioning import in_parts
from jaxvision.kernels._primitive import Form, Kernel, always
from jaxvision.typing import Array, Float, Int, at_least_float32

LUMA = (0.2989, 0.587, 0.114)  # weights of red, green and blue in gray: ITU-R 601-2 as torchvision rounds them
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def _check_channels(planes: Array) -> None:
    if len(planes) not in (1, 3):
        raise ValueError(f"image: found {len(planes)} channels, expected 1 (gray) or 3 (red, green, blue)")


def gray(planes: Array) -> Array:
    """The luma [H, W] of planes [1 or 3, H, W]."""
    _check_channels(planes)
    return sum(weight * plane for weight, plane in zip(LUMA, planes, strict=True)) if len(planes) == 3 else planes[0]


def _mean(values: Array) -> Array:
    """The mean over the last axis, in units of 1 / 65536: unlike a sum of floats, it does not depend on how the compiler splits a batch."""
    return jnp.sum(jnp.round(values * 2**16).astype(jnp.int32), axis=-1) / (2**16 * values.shape[-1])


def level(gray: Array) -> Array:
    """The mean of a plane [H, W], to within 2 ** -16."""
    return _mean(_mean(gray))


def blended(planes: Array, factor: float | Array, other: float | Array) -> Array:
    """factor * planes + (1 - factor) * other, clipped to [0, 1]; a factor above 1 extrapolates."""
    return jnp.clip(factor * planes + (1 - factor) * other, 0, 1)


def turned(planes: Array, shift: float | Array) -> Array:
    """Planes [1 or 3, H, W] with the hue rotated by ``shift`` of a full turn; value and chroma stay the same.

    The code works with hue times chroma instead of the hue, so that it never divides and gray needs no special case. Each channel is the
    value minus a trapezoid of the distance, on the hue circle, between the hue and the opposite of the channel's own colour.
    """
    _check_channels(planes)
    if len(planes) == 1:
        return planes
    red, green, blue = planes
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    position = jnp.where(  # -3 to 3 times the chroma: the whole circle
        value == red, green - blue - 2 * chroma, jnp.where(value == green, blue - red, red - green + 2 * chroma)
    )
    opposite = (jnp.array([5, 3, 1]) + 6 * shift + 3) % 6 - 3  # [3]
    distance = jnp.abs(position + opposite[:, None, None] * chroma)  # [3, H, W]
    distance = jnp.minimum(distance, 6 * chroma - distance)
    return value - jnp.clip(2 * chroma - distance, 0, chroma)


def plain_jitter(image: Float[Array, "H W C"], order: Int[Array, "4"], factors: Float[Array, "4"]) -> Float[Array, "H W C"]:
    """The reference implementation of ``jitter``, which the compiled form must equal.

    Every step blends with some gray, or rotates the hue by an angle that may be zero. In a batch the images take the steps in different
    orders, and each step is one pass over the pixels.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.plain_jitter(jnp.full((2, 2, 3), 0.5), jnp.arange(4), jnp.array([0.5, 1.0, 1.0, 0.0]))[0, 0].tolist()
    [0.25, 0.25, 0.25]
    """

    def step(planes, place):
        operation, factor = place
        grays = gray(planes)
        other = jnp.where(operation == CONTRAST, level(grays), jnp.where(operation == SATURATION, grays, 0))
        mixed = jnp.where(operation == HUE, planes, blended(planes, factor, other))
        return turned(mixed, jnp.where(operation == HUE, factor, 0)), None

    return jnp.moveaxis(jax.lax.scan(step, jnp.moveaxis(image, 2, 0), (order, factors[order]))[0], 0, 2)


def _available(images: Array, order: Array, factors: Array) -> bool:
    return images.shape[3] == 3 and native.available(images, factors)


def _by_kernel(images: Array, order: Array, factors: Array) -> Array:
    def part(images, order, factors):
        return native.call("jaxvision_jitter", images.shape)(images, order, factors)[0]

    return in_parts(part, "bijr, bs, bs -> bijr")(images, order, factors)


_jitter = Kernel("jitter", Form("cpu", _available, _by_kernel), Form(None, always, jax.vmap(plain_jitter)), batched=True)


def jitter(image: Float[Array, "H W C"], order: Int[Array, "4"], factors: Float[Array, "4"]) -> Float[Array, "H W C"]:
    """An image in [0, 1] after brightness, contrast, saturation and hue (0 to 3) in the given ``order``; ``factors`` lists them as 0 to 3.

    Computed in at least float32; the result has the dtype of ``image``. ``order`` must be a permutation of 0 to 3, which is not checked.
    Raises ValueError for other channels than one or three, or where ``order`` and ``factors`` do not hold four numbers.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.jitter(jnp.full((2, 2, 3), 0.5), jnp.arange(4), jnp.array([0.5, 1.0, 1.0, 0.0]))[0, 0].tolist()
    [0.25, 0.25, 0.25]
    """
    if order.shape != (4,) or factors.shape != (4,):
        raise ValueError(f"order, factors: found shapes {order.shape} and {factors.shape}, expected (4,) and (4,), one number a step")
    return _jitter(at_least_float32(image)[None], order.astype(jnp.int32)[None], factors[None])[0].astype(image.dtype)

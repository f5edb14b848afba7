"""Colours: the formulas, and the jitter of four; XLA passes over the batch for each of them, the compiled kernel twice over an image."""

import jax
import jax.numpy as jnp

from jaxvision.kernels import native
from jaxvision.kernels._differentiable import compiled, compiled_values
from jaxvision.typing import Array, Float, Int, at_least_float32

LUMA = (0.2989, 0.587, 0.114)  # shares of red, green and blue in gray: ITU-R 601-2 as torchvision rounds it
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def _check_channels(planes: Array) -> None:
    if len(planes) not in (1, 3):
        raise ValueError(f"image: found {len(planes)} channels, expected 1 (gray) or 3 (red, green, blue)")


def gray(planes: Array) -> Array:
    """Planes [1 or 3, H, W] -> [H, W]."""
    _check_channels(planes)
    return sum(share * plane for share, plane in zip(LUMA, planes, strict=True)) if len(planes) == 3 else planes[0]


def _mean(values: Array) -> Array:
    """The mean over the last axis, of whole 65536ths: unlike a sum of floats, theirs does not depend on how the compiler splits a batch."""
    return jnp.sum(jnp.round(values * 2**16).astype(jnp.int32), axis=-1) / (2**16 * values.shape[-1])


def level(gray: Array) -> Array:
    """The mean of a plane [H, W], within 2 ** -16."""
    return _mean(_mean(gray))


def blended(planes: Array, factor: float | Array, other: float | Array) -> Array:
    """``factor`` of planes [C, H, W] and the rest of ``other``; a factor above 1 leads away from it."""
    return jnp.clip(factor * planes + (1 - factor) * other, 0, 1)


def turned(planes: Array, shift: float | Array) -> Array:
    """Planes [1 or 3, H, W] whose hue is turned by ``shift`` of the circle, with value and chroma as they were.

    The hue times the chroma takes the hue's place, so that there is nothing to divide by and gray is no exception. A channel is the value
    less a trapezoid of the distance, on the circle, between that and the opposite of the channel's own colour.
    """
    _check_channels(planes)
    if len(planes) == 1:
        return planes
    red, green, blue = planes
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    position = jnp.where(  # -3 to 3 chroma, which is the whole circle
        value == red, green - blue - 2 * chroma, jnp.where(value == green, blue - red, red - green + 2 * chroma)
    )
    opposite = (jnp.array([5, 3, 1]) + 6 * shift + 3) % 6 - 3  # [3]
    distance = jnp.abs(position + opposite[:, None, None] * chroma)  # [3, H, W]
    distance = jnp.minimum(distance, 6 * chroma - distance)
    return value - jnp.clip(2 * chroma - distance, 0, chroma)


def plain_jitter(image: Array, order: Array, factors: Array) -> Array:
    """``jitter`` of [H, W, 1 or 3] by XLA: the twin that the compiled form must equal.

    Every step is a blend with some gray or none, and a turn that may be idle. In a batch, whose images take the steps in different orders,
    each step is then one pass over the pixels.
    """

    def step(planes, place):
        operation, factor = place
        grays = gray(planes)
        other = jnp.where(operation == CONTRAST, level(grays), jnp.where(operation == SATURATION, grays, 0))
        mixed = jnp.where(operation == HUE, planes, blended(planes, factor, other))
        return turned(mixed, jnp.where(operation == HUE, factor, 0)), None

    return jnp.moveaxis(jax.lax.scan(step, jnp.moveaxis(image, 2, 0), (order, factors[order]))[0], 0, 2)


_jitter = compiled_values(
    "jitter",
    lambda *arrays: [jax.vmap(plain_jitter)(*arrays)],
    compiled("jaxvision_jitter", (0,), "bijr, bs, bs -> bijr"),
    joins=True,
)


def jitter(image: Float[Array, "H W C"], order: Int[Array, "4"], factors: Float[Array, "4"]) -> Float[Array, "H W C"]:
    """An image in [0, 1] after brightness, contrast, saturation and hue (0 to 3) in any ``order``, by ``factors`` in their own order.

    Computed in float32 or wider; the dtype of ``image`` comes back. Each number is in ``order`` once, which is not looked at. Raises
    ValueError for other channels than one or three, or not four numbers in ``order`` and ``factors``.
    """
    if order.shape != (4,) or factors.shape != (4,):
        raise ValueError(f"order, factors: found shapes {order.shape} and {factors.shape}, expected (4,) and (4,), one a step")
    wide = at_least_float32(image)
    if image.shape[2] == 3 and image.size and native.wanted(wide, factors):
        found = _jitter(wide[None], order.astype(jnp.int32)[None], factors[None])[0][0]
    else:
        found = plain_jitter(wide, order, factors)
    return found.astype(image.dtype)

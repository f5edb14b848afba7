"""Sums of neighbouring pixels, and the blur that is two of them; the compiled kernel makes them row by row, in the nearest cache."""

import jax
import jax.numpy as jnp

from jaxvision.kernels import native
from jaxvision.kernels._differentiable import compiled, compiled_values
from jaxvision.typing import Array, Float, at_least_float32


def slid(planes: Array, taps: Array, axis: int) -> Array:
    """``taps`` [K] slid along one axis of planes that are K - 1 longer there than the result."""
    length = planes.shape[axis] - len(taps) + 1
    return sum(tap * jax.lax.slice_in_dim(planes, place, place + length, axis=axis) for place, tap in enumerate(taps))


def plain_blur(image: Array, taps: Array) -> Array:
    """``blur`` of [H, W, C] by taps [K] as two sums of shifted copies: the twin that the compiled form must equal."""
    half = len(taps) // 2
    wide = jnp.pad(jnp.moveaxis(image, 2, 0), ((0, 0), (half, half), (half, half)), mode="reflect")
    return jnp.moveaxis(slid(slid(wide, taps, 1), taps, 2), 0, 2)


_blur = compiled_values(
    "blur", lambda *arrays: [jax.vmap(plain_blur)(*arrays)], compiled("jaxvision_blur", (0,), "bijr, bs -> bijr"), joins=True
)


def blur(image: Float[Array, "H W C"], taps: Float[Array, "K"]) -> Float[Array, "H W C"]:
    """``taps``, an odd number of them, along both sides of an image, mirrored at the border.

    Computed in float32 or wider; the dtype of ``image`` comes back. Raises ValueError where half of the taps are not less than a side.
    """
    if len(taps) % 2 == 0 or min(image.shape[:2]) <= len(taps) // 2:
        most = 2 * min(image.shape[:2]) - 1
        raise ValueError(f"taps: found {len(taps)} for {image.shape[0]} x {image.shape[1]} pixels, expected an odd number up to {most}")
    wide = at_least_float32(image)
    found = _blur(wide[None], taps[None])[0][0] if image.size and native.wanted(wide, taps) else plain_blur(wide, taps)
    return found.astype(image.dtype)

"""Blurring by a separable filter; the compiled kernel filters row by row, in the nearest cache."""

import jax
import jax.numpy as jnp

from jaxvision.kernels import native
from jaxvision.kernels._partitioning import in_parts
from jaxvision.kernels._primitive import Form, Kernel, always
from jaxvision.typing import Array, Float, at_least_float32


def slid(planes: Float[Array, "..."], taps: Float[Array, "K"], axis: int) -> Float[Array, "..."]:
    """The correlation with ``taps`` [K] along one axis of planes, which are K - 1 longer there than the result."""
    length = planes.shape[axis] - len(taps) + 1
    return sum(tap * jax.lax.slice_in_dim(planes, place, place + length, axis=axis) for place, tap in enumerate(taps))


def plain_blur(image: Float[Array, "H W C"], taps: Float[Array, "K"]) -> Float[Array, "H W C"]:
    """The reference implementation of ``blur``, two sums of shifted copies, which the compiled form must equal.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.plain_blur(jnp.ones((4, 5, 3)), jnp.array([0.25, 0.5, 0.25])).sum().item()
    60.0
    """
    half = len(taps) // 2
    wide = jnp.pad(jnp.moveaxis(image, 2, 0), ((0, 0), (half, half), (half, half)), mode="reflect")
    return jnp.moveaxis(slid(slid(wide, taps, 1), taps, 2), 0, 2)


def _available(images: Array, taps: Array) -> bool:
    return native.available(images, taps)


def _by_kernel(images: Array, taps: Array) -> Array:
    return in_parts(lambda images, taps: native.call("jaxvision_blur", images.shape)(images, taps)[0], "bijr, bs -> bijr")(images, taps)


_blur = Kernel("blur", Form("cpu", _available, _by_kernel), Form(None, always, jax.vmap(plain_blur)), batched=True)


def blur(image: Float[Array, "H W C"], taps: Float[Array, "K"]) -> Float[Array, "H W C"]:
    """The filter ``taps``, an odd number of them, along both sides of an image that is mirrored at its border.

    Computed in at least float32; the result has the dtype of ``image``. Raises ValueError where half of the taps are not less than a side.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.blur(jnp.ones((4, 5, 3)), jnp.array([0.25, 0.5, 0.25])).sum().item()
    60.0
    """
    if len(taps) % 2 == 0 or min(image.shape[:2]) <= len(taps) // 2:
        most = 2 * min(image.shape[:2]) - 1
        raise ValueError(f"taps: found {len(taps)} for {image.shape[0]} x {image.shape[1]} pixels, expected an odd number up to {most}")
    return _blur(at_least_float32(image)[None], taps[None])[0].astype(image.dtype)

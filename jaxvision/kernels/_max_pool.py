"""Max pooling: XLA's gradient of it is a scalar loop on a CPU; the compiled kernels compute both passes."""

from typing import Any

import jax
import numpy as np

from jaxvision.kernels import native
from jaxvision.kernels._derivatives import Gradient, differentiable, linear_in_last
from jaxvision.kernels._partitioning import in_parts
from jaxvision.kernels._primitive import Form, Kernel, always
from jaxvision.typing import Array, Float

Pair = tuple[int, int]


def plain_max_pool(image: Float[Array, "B H W C"], *, size: Pair, stride: Pair, padding: tuple[Pair, Pair]) -> Float[Array, "B h w C"]:
    """The reference implementation of ``max_pool``, XLA's own, which the compiled form must equal.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> image = jnp.arange(4.0).reshape(1, 2, 2, 1)
    >>> kernels.plain_max_pool(image, size=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0))).item()
    3.0
    """
    lowest = np.array(-np.inf, image.dtype)
    return jax.lax.reduce_window(image, lowest, jax.lax.max, (1, *size, 1), (1, *stride, 1), ((0, 0), *padding, (0, 0)))


def _pool(image: Array, other: Array, **options: Any) -> Array:
    """The value of ``other`` where each window of ``image`` has its maximum. ``other`` is the image itself, or its tangent."""
    attributes = options | {"padding": (*options["padding"][0], *options["padding"][1])}

    def part(image, other):
        result = jax.eval_shape(lambda image: plain_max_pool(image, **options), image)
        return native.call("jaxvision_pool", result.shape, **attributes)(image, other)[0]

    return in_parts(part, "bijc, bijc -> bpqc")(image, other)


def _pool_gradient(image: Array, gradient: Array, **options: Any) -> Array:
    """The sum of the windows' gradients at their maxima, zero elsewhere."""
    attributes = options | {"padding": (*options["padding"][0], *options["padding"][1])}

    def part(image, gradient):
        return native.call("jaxvision_pool_gradient", image.shape, **attributes)(image, gradient)[0]

    return in_parts(part, "bijc, bpqc -> bijc")(image, gradient)


def _available(*arrays: Array, **options: Any) -> bool:
    return native.available(*arrays)


_max_pool = Kernel(
    "jaxvision_pool",
    Form("cpu", _available, lambda image, **options: _pool(image, image, **options)),
    Form(None, always, plain_max_pool),
    batched=True,
)
_tangent, _gradient = differentiable(
    _max_pool,
    tangent=Gradient((Form("cpu", _available, _pool),), batched=True),
    gradients=Gradient((Form("cpu", _available, _pool_gradient),), batched=True),
)
linear_in_last(_tangent, _gradient)
linear_in_last(_gradient, _tangent)


def max_pool(image: Float[Array, "B H W C"], *, size: Pair, stride: Pair, padding: tuple[Pair, Pair]) -> Float[Array, "B h w C"]:
    """The maximum of each window of ``size`` pixels; ``padding`` (before, after) of rows and of columns never is the maximum.

    h = floor((H + before + after - size) / stride) + 1, likewise w. Among equal maxima the gradient goes to the first.
    Raises ValueError where the image has other axes.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> image = jnp.arange(16.0).reshape(1, 4, 4, 1)
    >>> kernels.max_pool(image, size=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0))).ravel().tolist()
    [5.0, 7.0, 13.0, 15.0]
    """
    if image.ndim != 4:
        raise ValueError(f"image: found shape {tuple(image.shape)}, expected [B, H, W, C]")
    rows, columns = padding
    return _max_pool(image, size=tuple(size), stride=tuple(stride), padding=(tuple(rows), tuple(columns)))

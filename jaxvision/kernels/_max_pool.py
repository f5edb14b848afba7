"""Max pooling: XLA's gradient of it is a scalar loop on CPU; where compiled kernels were built they compute both."""

import jax
import numpy as np
from jax.interpreters import ad

from jaxvision.kernels import native
from jaxvision.kernels._primitive import bind, primitive
from jaxvision.typing import Array, Float

# The other image's values where each window of the image has its largest, and the inverse of that. Both are linear in what they carry, and
# constant in the image, as long as its order does not change.
_pick = primitive("jaxvision_pool", "bijc, bijc -> bpqc")
_spread = primitive("jaxvision_pool_spread", "bijc, bpqc -> bijc")


def _linear_in_the_second(found, transposed) -> None:
    ad.primitive_jvps[found] = lambda primals, tangents, **static: (
        found.bind(*primals, **static),
        ad.Zero.from_primal_value(primals[0]) if type(tangents[1]) is ad.Zero else found.bind(primals[0], tangents[1], **static),
    )
    ad.primitive_transposes[found] = lambda g, image, carried, shape, **static: (
        None,
        transposed.bind(image, g, shape=carried.aval.shape, **static),
    )


_linear_in_the_second(_pick, _spread)
_linear_in_the_second(_spread, _pick)


def plain_max_pool(
    image: Array, *, size: tuple[int, int], stride: tuple[int, int], padding: tuple[tuple[int, int], tuple[int, int]]
) -> Array:
    """XLA's own: the twin that the compiled form must equal."""
    lowest = np.array(-np.inf, image.dtype)
    return jax.lax.reduce_window(image, lowest, jax.lax.max, (1, *size, 1), (1, *stride, 1), ((0, 0), *padding, (0, 0)))


def max_pool(
    image: Float[Array, "B H W C"], *, size: tuple[int, int], stride: tuple[int, int], padding: tuple[tuple[int, int], tuple[int, int]]
) -> Float[Array, "B h w C"]:
    """The largest of each window of ``size`` pixels; ``padding`` (before, after) rows and columns, which are never the largest.

    h = floor((H + before + after - size) / stride) + 1. Of pixels that are equally large the gradient goes to the first.
    """
    if not native.wanted(image):
        return plain_max_pool(image, size=size, stride=stride, padding=padding)
    sizes = zip(image.shape[1:3], padding, size, stride, strict=True)
    rows, columns = ((extent + before + after - taps) // step + 1 for extent, (before, after), taps, step in sizes)
    shape = (image.shape[0], rows, columns, image.shape[3])
    return bind(_pick, jax.lax.stop_gradient(image), image, shape, size=size, stride=stride, padding=(*padding[0], *padding[1]))

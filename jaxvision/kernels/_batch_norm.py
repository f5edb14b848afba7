"""The sums of batch normalization: XLA reads the batch once for each sum, the compiled kernel once for two of them."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxvision.kernels import native
from jaxvision.kernels._derivatives import Gradient, differentiable
from jaxvision.kernels._partitioning import in_parts
from jaxvision.kernels._primitive import Form, Kernel, always
from jaxvision.typing import Array, Float

_CACHED_SIZE = 1 << 18  # arrays up to this size fit in the cache, so that a second pass is free
_SHIFT_ROWS = 16  # rows of a matrix whose mean is the shift


def plain_moments(x: Float[Array, "... C"]) -> tuple[Float[Array, "C"], Float[Array, "C"]]:
    """The reference implementation of ``moments``, in two passes, which the compiled form must equal.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> [moment.tolist() for moment in kernels.plain_moments(jnp.array([[1.0], [3.0]]))]
    [[2.0], [1.0]]
    """
    over = tuple(range(x.ndim - 1))
    mean = jnp.mean(x, axis=over)
    return mean, jnp.mean(jnp.square(x - mean), axis=over)


def plain_rescaled(
    x: Float[Array, "... C"], mean: Float[Array, "C"], factor: Float[Array, "C"], bias: Float[Array, "C"]
) -> Float[Array, "... C"]:
    """The reference implementation of ``rescaled``, whose gradients the compiled form's must equal.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.plain_rescaled(jnp.array([[1.0], [3.0]]), jnp.ones(1), jnp.full(1, 2.0), jnp.zeros(1)).tolist()
    [[0.0], [4.0]]
    """
    return (x - mean) * factor + bias


def _sums(rows: Array, shift: Array) -> tuple[Array, Array]:
    """The sums of rows less ``shift``, and of their squares."""

    def part(rows, shift):
        return native.call("jaxvision_batch_moments", shift.shape, shift.shape)(rows, shift)

    return tuple(in_parts(part, "br, r -> r, r")(rows, shift))


def _plain_sums(rows: Array, shift: Array) -> tuple[Array, Array]:
    return jnp.sum(rows - shift, axis=0), jnp.sum(jnp.square(rows - shift), axis=0)


def _weighted_sums(rows: Array, shift: Array, weight: Array) -> tuple[Array, Array]:
    """The sums of ``weight``, and of ``weight`` times rows less ``shift``."""

    def part(rows, shift, weight):
        return native.call("jaxvision_batch_sums", shift.shape, shift.shape)(rows, shift, weight)

    return tuple(in_parts(part, "br, r, br -> r, r")(rows, shift, weight))


def _from_sums(shift: Array, count: int, total: Array, squares: Array) -> tuple[Array, Array]:
    offset = total / count
    return shift + offset, jnp.maximum(squares / count - jnp.square(offset), 0)


def _moments_by_kernel(x: Array) -> tuple[Array, ...]:
    """In one pass. Mean and variance, and what their gradient needs: shift and both sums."""
    some = x if x.size <= _CACHED_SIZE else x[: _SHIFT_ROWS if x.ndim == 2 else 1]
    shift, rows = jnp.mean(some, axis=tuple(range(x.ndim - 1))), native.as_rows(x)
    sums = _sums(rows, shift)
    return *_from_sums(shift, len(rows), *sums), shift, *sums


def _moments_gradient_by_kernel(x: Array, shift: Array, total: Array, squares: Array, to_mean: Array, to_var: Array) -> list[Array]:
    rows = native.as_rows(x)
    to_sums = jax.vjp(partial(_from_sums, shift, len(rows)), total, squares)[1]((to_mean, to_var))
    return [jax.vjp(lambda rows: _plain_sums(rows, shift), rows)[1](to_sums)[0].reshape(x.shape)]


def _reference_moments(x: Array) -> tuple[Array, ...]:
    moments = plain_moments(x)
    return *moments, *[jnp.zeros_like(moments[0])] * 3  # the gradient of the reference needs no sums


_moments = Kernel("batch_moments", Form("cpu", native.rows_available, _moments_by_kernel), Form(None, always, _reference_moments))
differentiable(_moments, gradients=Gradient((Form("cpu", native.rows_available, _moments_gradient_by_kernel),)), kept=3)


def _rescaled_gradients_by_kernel(x: Array, mean: Array, factor: Array, bias: Array, gradient: Array) -> list[Array]:
    total, weighted = _weighted_sums(native.as_rows(x), mean, native.as_rows(gradient))
    return [gradient * factor, -total * factor, weighted, total]


_rescale = Kernel(
    "rescale", Form("cpu", native.rows_available, plain_rescaled), Form(None, always, plain_rescaled), batched=(True, *[False] * 3)
)
differentiable(_rescale, gradients=Gradient((Form("cpu", native.rows_available, _rescaled_gradients_by_kernel),)))


def moments(x: Float[Array, "... C"]) -> tuple[Float[Array, "C"], Float[Array, "C"]]:
    """Mean and biased variance [C] over all axes but the last (Ioffe & Szegedy, 2015, algorithm 1).

    The compiled form needs one pass: it sums x less a shift, the mean of the first image or of some rows, and the squares. Where the shift
    lies d standard deviations from the mean, the variance loses d^2 units in the last place. For small arrays the shift is the mean itself.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> [moment.tolist() for moment in kernels.moments(jnp.array([[1.0], [3.0]]))]
    [[2.0], [1.0]]
    """
    return _moments(x)[:2]


def rescaled(
    x: Float[Array, "... C"], mean: Float[Array, "C"], factor: Float[Array, "C"], bias: Float[Array, "C"]
) -> Float[Array, "... C"]:
    """(x - mean) factor + bias along the last axis; the gradients of ``mean``, ``factor`` and ``bias`` are sums of one pass.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.rescaled(jnp.array([[1.0], [3.0]]), jnp.ones(1), jnp.full(1, 2.0), jnp.zeros(1)).tolist()
    [[0.0], [4.0]]
    """
    return _rescale(x, mean, factor, bias)

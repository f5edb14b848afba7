"""What batch normalisation sums over a batch, forward and back: XLA reads it once a sum, the compiled kernel of CPUs once for two."""

import jax
import jax.numpy as jnp

from jaxvision.kernels import native
from jaxvision.kernels._differentiable import compiled, compiled_function, compiled_values
from jaxvision.typing import Array, Float

_FEW = 1 << 18  # numbers that lie in a cache: to read them twice costs nothing
_SOME_ROWS = 16


def plain_moments(x: Array) -> tuple[Array, Array]:
    """In two passes, as XLA reads it: the twin that the compiled form must equal."""
    over = tuple(range(x.ndim - 1))
    mean = jnp.mean(x, axis=over)
    return mean, jnp.mean(jnp.square(x - mean), axis=over)


def plain_rescaled(x: Array, mean: Array, factor: Array, bias: Array) -> Array:
    """The twin whose gradients the compiled form's must equal."""
    return (x - mean) * factor + bias


def _plain_sums(rows: Array, shift: Array) -> list[Array]:
    return [jnp.sum(rows - shift, axis=0), jnp.sum(jnp.square(rows - shift), axis=0)]


def _plain_weighted_sums(rows: Array, shift: Array, weight: Array) -> list[Array]:
    return [jnp.sum(weight, axis=0), jnp.sum(weight * (rows - shift), axis=0)]


_sums = compiled_values("batch_moments", _plain_sums, compiled("jaxvision_batch_moments", (1, 1), "br, r -> r, r"))
_weighted_sums = compiled_values("batch_sums", _plain_weighted_sums, compiled("jaxvision_batch_sums", (1, 1), "br, r, br -> r, r"))


def _gradients(x: Array, mean: Array, factor: Array, bias: Array, gradient: Array) -> list[Array]:
    total, along = _weighted_sums(native.as_rows(x), mean, native.as_rows(gradient))
    return [gradient * factor, -total * factor, along, total]


_rescale = compiled_function("rescale", plain_rescaled, lambda *arrays: [plain_rescaled(*arrays)], _gradients, joins=False)


def moments(x: Float[Array, "... C"]) -> tuple[Float[Array, "C"], Float[Array, "C"]]:
    """Mean and variance [C] over all axes but the last; the variance is the sample's own (Ioffe & Szegedy, 2015, algorithm 1).

    Compiled, where x has two axes or more and any elements: both in one pass, as sums of x less the mean of the first image, or of some
    rows. Where that lies d deviations from the mean of all, d^2 units in the last place of the variance are lost; of few numbers it is the
    mean of all.
    """
    if x.ndim < 2 or not x.size or not native.wanted(x):
        return plain_moments(x)
    some = x if x.size <= _FEW else x[: _SOME_ROWS if x.ndim == 2 else 1]
    shift = jax.lax.stop_gradient(jnp.mean(some, axis=tuple(range(x.ndim - 1))))
    count, (total, squares) = x.size // x.shape[-1], _sums(native.as_rows(x), shift)
    apart = total / count
    return shift + apart, jnp.maximum(squares / count - jnp.square(apart), 0)


def rescaled(
    x: Float[Array, "... C"], mean: Float[Array, "C"], factor: Float[Array, "C"], bias: Float[Array, "C"]
) -> Float[Array, "... C"]:
    """(x - mean) factor + bias along the last axis; on the way back, the sums for ``mean``, ``factor`` and ``bias`` are one pass."""
    if x.ndim > 1 and x.size and native.wanted(x, mean, factor, bias):
        return _rescale(x, mean, factor, bias)
    return plain_rescaled(x, mean, factor, bias)

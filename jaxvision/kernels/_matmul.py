"""Products of rows with a matrix, and their gradients; on a CPU by compiled kernels that pack both operands in the order they are read.

XLA's library for CPUs is fast for rows times a matrix, and a third slower or more where it reads an operand across: the transposed matrix
of the gradient by the rows, the transposed rows of the gradient by the matrix. Where the kernels are not available on a CPU (few rows,
other dtypes than float32, an install without them), the operand is transposed in memory first; an optimization barrier keeps XLA from
undoing that.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxvision.kernels import native
from jaxvision.kernels._barrier import barrier
from jaxvision.kernels._derivatives import Bilinear, bilinear
from jaxvision.kernels._partitioning import in_parts
from jaxvision.kernels._primitive import Form, always
from jaxvision.typing import Array, Float, at_least_float32

MIN_ROWS = 64  # with fewer, packing the matrix costs more than it saves
_NAMES = ("jaxvision_product", "jaxvision_product_rows_gradient", "jaxvision_product_matrix_gradient")


def plain_product(rows: Float[Array, "... C"], matrix: Float[Array, "C D"]) -> Float[Array, "... D"]:
    """The reference implementation of ``product``, ``jnp.dot``, which every other form must equal.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.plain_product(jnp.ones((2, 3)), jnp.ones((3, 4))).shape
    (2, 4)
    """
    return jnp.dot(rows, matrix)


def _transposed(array: Array) -> Array:
    """The last axis first, in memory."""
    return jax.lax.optimization_barrier(jnp.moveaxis(array, -1, 0))


def _to_rows(gradient: Array, matrix: Array, **options: Any) -> Array:
    """gradient [..., D], matrix [C, D] -> [..., C]."""
    return jnp.dot(gradient, _transposed(matrix))


def _to_matrix(rows: Array, gradient: Array, **options: Any) -> Array:
    """rows [..., C], gradient [..., D] -> [C, D]; the narrower of the two is transposed, and the sum is in float32 at least."""
    dtype, rows, gradient = rows.dtype, at_least_float32(rows), at_least_float32(gradient)
    if rows.shape[-1] <= gradient.shape[-1]:
        return jnp.tensordot(_transposed(rows), gradient, rows.ndim - 1).astype(dtype)
    return jnp.tensordot(_transposed(gradient), rows, rows.ndim - 1).T.astype(dtype)


def _available(rows: Array, matrix: Array, **options: Any) -> bool:
    return native.available(rows, matrix) and rows.size // rows.shape[-1] >= MIN_ROWS


def _compiled(target: str, rule: str, plain: Callable) -> Callable[..., Array]:
    """The kernel ``target``; ``plain`` for the shards of a device that have too few rows."""

    def part(a: Array, b: Array) -> Array:
        if not _available(a, b):
            return plain(a, b)
        shape = jax.eval_shape(plain, a, b).shape
        call = native.call(target, (math.prod(shape[:-1]), shape[-1]))
        return call(native.as_rows(a), native.as_rows(b))[0].reshape(shape)

    return lambda a, b, **options: in_parts(part, rule)(a, b)


_product = bilinear(
    _NAMES,
    "b...k, kn -> b...n",
    Form(
        "cpu",
        _available,
        Bilinear(
            _compiled(_NAMES[0], "b...k, kn -> b...n", plain_product),
            _compiled(_NAMES[1], "b...n, kn -> b...k", _to_rows),
            _compiled(_NAMES[2], "b...k, b...n -> kn", _to_matrix),
        ),
    ),
    Form("cpu", always, Bilinear(lambda rows, matrix: barrier(plain_product(rows, matrix)), _to_rows, _to_matrix)),
    Form(None, always, Bilinear(plain_product)),
)


def product(rows: Float[Array, "... C"], matrix: Float[Array, "C D"]) -> Float[Array, "... D"]:
    """rows [..., C] times a matrix [C, D], in the dtype that both promote to. Raises ValueError where the matrix has another shape.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.product(jnp.ones((2, 3)), jnp.ones((3, 4))).shape
    (2, 4)
    """
    if matrix.ndim != 2 or rows.shape[-1:] != matrix.shape[:1]:
        raise ValueError(f"matrix: found shape {tuple(matrix.shape)}, expected [C, D] for rows {tuple(rows.shape)} of C numbers")
    if rows.ndim < 2:
        return plain_product(rows, matrix)
    dtype = jnp.result_type(rows, matrix)
    return _product(rows.astype(dtype), matrix.astype(dtype))

"""Products of rows with a matrix: on a CPU compiled kernels, whose gradients are products of operands that are packed as they are read.

Few rows, other types than float32 and everything where no kernels were built are XLA's. Its library for CPUs is fast for rows times a
matrix, and loses a third and more where an operand would have to be read across: the transposed kernel of the input's gradient, the
transposed input of the kernel's. There the operand is turned in memory first, which an optimisation barrier keeps XLA from undoing.
"""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxvision.kernels import native
from jaxvision.kernels._barrier import settled
from jaxvision.kernels._partitioning import in_parts_of
from jaxvision.kernels._primitive import run_alone, split_program
from jaxvision.typing import Array, Float, at_least_float32

FEWEST_ROWS = 64  # with fewer, packing the matrix costs more than it saves


def plain_product(rows: Array, matrix: Array) -> Array:
    """``jnp.dot``: the twin that the fast form must equal."""
    return jnp.dot(rows, matrix)


def _turned(array: Array) -> Array:
    """The last axis first, in memory."""
    return jax.lax.optimization_barrier(jnp.moveaxis(array, -1, 0))


def _to_rows(gradient: Array, matrix: Array) -> Array:
    """gradient [..., D], matrix [C, D] -> [..., C]."""
    return jnp.dot(gradient, _turned(matrix))


def _to_matrix(rows: Array, gradient: Array) -> Array:
    """rows [..., C], gradient [..., D] -> [C, D]; the narrower of the two is turned, and all rows are summed in float32 at least."""
    dtype, rows, gradient = rows.dtype, at_least_float32(rows), at_least_float32(gradient)
    if rows.shape[-1] <= gradient.shape[-1]:
        return jnp.tensordot(_turned(rows), gradient, rows.ndim - 1).astype(dtype)
    return jnp.tensordot(_turned(gradient), rows, rows.ndim - 1).T.astype(dtype)


def compiled(rows: Array, matrix: Array) -> bool:
    """Whether the compiled kernels take rows [..., C] and a matrix, or other rows."""
    return native.wanted(rows, matrix) and min(rows.size, matrix.size) > 0 and rows.size // rows.shape[-1] >= FEWEST_ROWS


def _primitive(target: str, plain: Callable, rule: str) -> Primitive:
    """``plain(a, b)``, computed by the kernel ``target`` of two matrices where that takes them; ``rule`` as in ``parts.in_parts_of``."""
    summed = "b" not in rule.split("->")[1]

    def call(a: Array, b: Array) -> list[Array]:  # of a device's rows, which may be few
        return [native.call(target, jax.eval_shape(plain, a, b).shape, a, b) if compiled(a, b) else plain(a, b)]

    split = in_parts_of(call, rule)

    def compute(a: Array, b: Array, *, within) -> Array:
        if not compiled(a, b):
            return plain(a, b)
        return split(native.as_rows(a), native.as_rows(b))[0].reshape(jax.eval_shape(plain, a, b).shape)

    def mapped(arguments, places, *, within):
        a, b = arguments
        if places[1] is None and not summed:
            return found.bind(jnp.moveaxis(a, places[0], 0), b, within=within), 0
        return jax.vmap(plain, in_axes=places)(a, b), 0

    found = Primitive(target)
    run_alone(found)
    found.def_abstract_eval(lambda a, b, *, within: jax.core.ShapedArray(jax.eval_shape(plain, a, b).shape, a.dtype))
    mlir.register_lowering(found, mlir.lower_fun(compute, multiple_results=False))
    batching.primitive_batchers[found] = mapped
    return found


@cache
def _product() -> Primitive:
    """Three functions that are linear in either argument, of which each one's derivatives are the other two."""
    forward = _primitive("jaxvision_product", plain_product, "bk, kn -> bn")
    to_rows = _primitive("jaxvision_product_rows_gradient", _to_rows, "bn, kn -> bk")
    to_matrix = _primitive("jaxvision_product_matrix_gradient", _to_matrix, "bk, bn -> kn")
    ad.defbilinear(
        forward,
        lambda g, a, b, within: to_rows.bind(g, b, within=within),
        lambda g, a, b, within: to_matrix.bind(a, g, within=within),
    )
    ad.defbilinear(
        to_rows,
        lambda g, a, b, within: forward.bind(g, b, within=within),
        lambda g, a, b, within: to_matrix.bind(g, a, within=within),
    )
    ad.defbilinear(
        to_matrix,
        lambda g, a, b, within: to_rows.bind(b, g, within=within),
        lambda g, a, b, within: forward.bind(a, g, within=within),
    )
    return forward


def product(rows: Float[Array, "... C"], matrix: Float[Array, "C D"]) -> Float[Array, "... D"]:
    """rows [..., C] times a matrix [C, D]."""
    if jax.default_backend() != "cpu" or rows.ndim < 2:
        return plain_product(rows, matrix)
    dtype = jnp.result_type(rows, matrix)
    rows, matrix = rows.astype(dtype), matrix.astype(dtype)
    found = _product().bind(rows, matrix, within=split_program())
    return found if compiled(rows, matrix) else settled(found)

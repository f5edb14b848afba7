"""Products of rows with a matrix, whose gradients on a CPU are products of operands that lie in memory as they are read.

XLA's library for them is fast for rows times a matrix, and loses a third and more where an operand would have to be read across: the
transposed kernel of the input's gradient, the transposed input of the kernel's. There the operand is turned in memory first, which an
optimisation barrier keeps XLA from undoing.
"""

from functools import cache

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxvision.kernels.settling import settled
from jaxvision.typing import Array, Float


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
    """rows [..., C], gradient [..., D] -> [C, D]; the narrower of the two is turned."""
    if rows.shape[-1] <= gradient.shape[-1]:
        return jnp.tensordot(_turned(rows), gradient, rows.ndim - 1)
    return jnp.tensordot(_turned(gradient), rows, rows.ndim - 1).T


def _primitive(name: str, form) -> Primitive:
    found = Primitive(name)
    program = jax.jit(form)
    found.def_impl(program)
    found.def_abstract_eval(lambda a, b: jax.core.ShapedArray(jax.eval_shape(form, a, b).shape, a.dtype))
    mlir.register_lowering(found, mlir.lower_fun(form, multiple_results=False))
    batching.primitive_batchers[found] = lambda arguments, places: (jax.vmap(form, in_axes=places)(*arguments), 0)
    return found


@cache
def _product() -> Primitive:
    """Three functions that are linear in either argument, of which each one's derivatives are the other two."""
    forward = _primitive("rows_times_matrix", plain_product)
    to_rows = _primitive("rows_times_turned_matrix", _to_rows)
    to_matrix = _primitive("turned_rows_times_rows", _to_matrix)
    ad.defbilinear(forward, lambda g, a, b: to_rows.bind(g, b), lambda g, a, b: to_matrix.bind(a, g))
    ad.defbilinear(to_rows, lambda g, a, b: forward.bind(g, b), lambda g, a, b: to_matrix.bind(g, a))
    ad.defbilinear(to_matrix, lambda g, a, b: to_rows.bind(b, g), lambda g, a, b: forward.bind(a, g))
    return forward


def product(rows: Float[Array, "... C"], matrix: Float[Array, "C D"]) -> Float[Array, "... D"]:
    """rows [..., C] times a matrix [C, D]."""
    if jax.default_backend() != "cpu" or rows.ndim < 2:
        return plain_product(rows, matrix)
    dtype = jnp.result_type(rows, matrix)
    return settled(_product().bind(rows.astype(dtype), matrix.astype(dtype)))

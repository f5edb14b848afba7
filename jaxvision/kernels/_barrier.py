"""Values that a program computes once, and their gradients with them.

XLA would rather compute a cheap value anew in everything that reads it. Along a chain of shortcuts that is everything: the gradient at a
block would be summed up again from the last block on, in each block. A foreign function that does nothing, in place, ends that on a CPU.
"""

import jax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxvision.kernels import native
from jaxvision.kernels._primitive import split_program
from jaxvision.typing import Array, Float


@custom_partitioning
def _in_place(x: Array) -> Array:
    return jax.ffi.ffi_call("jaxvision_settle", jax.ShapeDtypeStruct(x.shape, x.dtype), input_output_aliases={0: 0})(x)


_in_place.def_partition(
    partition=lambda mesh, given, result: (mesh, _in_place.fun, given[0].sharding, (given[0].sharding,)), sharding_rule="... -> ..."
)

_settle = Primitive("settle")
_settle.def_impl(lambda x, within: x)
_settle.def_abstract_eval(lambda x, within: x)
mlir.register_lowering(_settle, mlir.lower_fun(lambda x, within: _in_place(x), multiple_results=False))
ad.deflinear2(_settle, lambda gradient, _, within: [_settle.bind(gradient, within=within)])
batching.defvectorized(_settle)


def settled(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x, computed once whatever reads it, and so is its gradient; where compiled kernels were built for a CPU, elsewhere just x."""
    return _settle.bind(x, within=split_program()) if native.present() else x

"""A barrier against recomputation: values that a program computes once, and their gradients with them.

XLA recomputes a cheap value in everything that reads it. Along a chain of residual connections the gradient at a block would be summed up
again from the last block on, in each block. On a CPU a foreign function that does nothing, in place, prevents that.
"""

import jax
from jax.interpreters import ad, batching

from jaxvision.kernels import native
from jaxvision.kernels._partitioning import in_parts
from jaxvision.kernels._primitive import Form, Kernel, always
from jaxvision.typing import Array, Float


def _in_place(x: Array) -> Array:
    return jax.ffi.ffi_call("jaxvision_barrier", jax.ShapeDtypeStruct(x.shape, x.dtype), input_output_aliases={0: 0})(x)


def _built(x: Array) -> bool:
    return all(isinstance(extent, int) for extent in x.shape) and native.library() is not None


_barrier = Kernel("barrier", Form("cpu", _built, in_parts(_in_place, "... -> ...")), Form(None, always, lambda x: x))
_barrier.primitive.def_impl(lambda x, **parameters: [x])
ad.deflinear2(_barrier.primitive, lambda cotangents, _, **parameters: _barrier.bind(*map(ad.instantiate_zeros, cotangents)))
batching.primitive_batchers[_barrier.primitive] = lambda arrays, axes, **parameters: (_barrier.bind(*arrays), axes)


def barrier(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return x. XLA computes x once, even if many operations read it; the same holds for its gradient.

    It has an effect in programs for a CPU where the compiled kernels were built; elsewhere it is the identity.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.barrier(jnp.arange(3.0)).tolist()
    [0.0, 1.0, 2.0]
    """
    return _barrier(x)

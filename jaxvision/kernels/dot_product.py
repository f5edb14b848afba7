"""Scaled dot-product attention: heads side by side, as a compiled kernel on a CPU, else as one batch of matrix products.

The compiled kernel holds the weights of a few queries at a time; on the way back it computes them again.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxvision.kernels import native
from jaxvision.kernels.parts import in_parts_of
from jaxvision.kernels.primitives import split_program
from jaxvision.typing import Array, Float


def _check(queries: Array, keys: Array, values: Array) -> None:
    if queries.ndim != 4 or keys.shape != values.shape or queries.shape[0::2] != keys.shape[0::2] or queries.shape[3] != keys.shape[3]:
        found = f"{queries.shape}, {keys.shape}, {values.shape}"
        raise ValueError(f"queries, keys, values: found {found}, expected [B, N, h, d], [B, M, h, d] and [B, M, h, d]")


def plain_attention(queries: Array, keys: Array, values: Array, *, bias: Array | None = None) -> Array:
    """The definition as XLA reads it: the twin that every other form must equal."""
    wide = jnp.promote_types(jnp.promote_types(queries.dtype, keys.dtype), jnp.float32)
    scores = jnp.einsum("bnhd,bmhd->bhnm", queries * queries.shape[-1] ** -0.5, keys, preferred_element_type=wide)
    weights = jax.nn.softmax(scores if bias is None else scores + bias, axis=-1)
    return jnp.einsum("bhnm,bmhd->bnhd", weights.astype(values.dtype), values)


def _by_products(queries: Array, keys: Array, values: Array, bias: Array | None) -> Array:
    """Heads moved in front before the products, which XLA copies least for."""
    wide = jnp.promote_types(jnp.promote_types(queries.dtype, keys.dtype), jnp.float32)
    queries, keys, values = (array.swapaxes(1, 2) for array in (queries * queries.shape[-1] ** -0.5, keys, values))  # [B, h, N, d]
    scores = jax.lax.dot_general(queries, keys, (((3,), (3,)), ((0, 1), (0, 1))), preferred_element_type=wide)  # [B, h, N, M]
    weights = jax.nn.softmax(scores if bias is None else scores + bias, axis=-1).astype(values.dtype)
    return jax.lax.dot_general(weights, values, (((3,), (2,)), ((0, 1), (0, 1)))).swapaxes(1, 2)


def _tangent(queries: Array, keys: Array, values: Array, *tangents: Array) -> Array:
    return jax.jvp(plain_attention, (queries, keys, values), tangents)[1]


def _gradients(queries: Array, keys: Array, values: Array, gradient: Array) -> tuple[Array, Array, Array]:
    return jax.vjp(plain_attention, queries, keys, values)[1](gradient)


def _abstract(array: jax.ShapeDtypeStruct) -> jax.core.ShapedArray:
    return jax.core.ShapedArray(array.shape, array.dtype)


def _primitive(name: str, plain, compiled=None) -> Primitive:
    """A function of arrays [B, ...] that is ``plain``, computed by ``compiled`` where that is given; its derivatives are plain's."""
    found = Primitive(name)
    found.multiple_results = True
    listed = lambda function: lambda *arrays, within: jax.tree.leaves(function(*arrays))  # noqa: E731
    computed, plainly = listed(compiled or plain), listed(plain)

    def mapped(arguments, places, *, within):
        count = next(array.shape[place] for array, place in zip(arguments, places) if place is not None)
        rows = [
            jnp.broadcast_to(array, (count, *array.shape)) if place is None else jnp.moveaxis(array, place, 0)
            for array, place in zip(arguments, places)
        ]
        joined = found.bind(*(array.reshape(-1, *array.shape[2:]) for array in rows), within=within)
        return [array.reshape(count, len(array) // count, *array.shape[1:]) for array in joined], [0] * len(joined)

    def pushed(primals, tangents, *, within):
        return jax.jvp(partial(plainly, within=within), tuple(primals), tuple(map(ad.instantiate_zeros, tangents)))

    found.def_impl(jax.jit(computed, static_argnames="within"))
    found.def_abstract_eval(lambda *arrays, within: [_abstract(one) for one in jax.eval_shape(partial(plainly, within=within), *arrays)])
    mlir.register_lowering(found, mlir.lower_fun(computed, multiple_results=True))
    batching.primitive_batchers[found] = mapped
    ad.primitive_jvps[found] = pushed
    return found


def _call(target: str, *results: int):
    """The compiled kernel whose results have the shapes of these arguments."""

    def call(*arrays: Array) -> list[Array]:
        return jax.ffi.ffi_call(target, [jax.ShapeDtypeStruct(arrays[index].shape, jnp.float32) for index in results])(*arrays)

    return call


_attend = _primitive("attention", plain_attention, in_parts_of(_call("jaxvision_attention", 0), "bnch, bmch, bmch -> bnch"))
_to_tangent = _primitive("attention_tangent", _tangent)
_to_gradients = _primitive(
    "attention_gradients",
    _gradients,
    in_parts_of(_call("jaxvision_attention_gradients", 0, 1, 2), "bnch, bmch, bmch, bnch -> bnch, bmch, bmch"),
)


def _attend_jvp(primals, tangents, *, within):
    return _attend.bind(*primals, within=within), _to_tangent.bind(*primals, *map(ad.instantiate_zeros, tangents), within=within)


def _tangent_transposed(gradients, queries, keys, values, *tangents, within):
    found = _to_gradients.bind(queries, keys, values, ad.instantiate_zeros(gradients[0]), within=within)
    return [None, None, None, *(one if ad.is_undefined_primal(tangent) else None for one, tangent in zip(found, tangents))]


ad.primitive_jvps[_attend] = _attend_jvp
ad.primitive_transposes[_to_tangent] = _tangent_transposed


def attention(
    queries: Float[Array, "B N h d"],
    keys: Float[Array, "B M h d"],
    values: Float[Array, "B M h d"],
    *,
    bias: Float[Array, "..."] | None = None,
) -> Float[Array, "B N h d"]:
    """softmax(queries keys^T / sqrt(d) + bias) values, head by head (Vaswani et al., 2017, equation 1).

    ``bias`` is anything that broadcasts to [B, h, N, M]. Scores and softmax are in float32 or wider, whatever the inputs are. Raises
    ValueError where the shapes do not fit.
    """
    _check(queries, keys, values)
    if bias is None and keys.size and native.wanted(queries, keys, values):
        return _attend.bind(queries, keys, values, within=split_program())[0]
    return _by_products(queries, keys, values, bias)

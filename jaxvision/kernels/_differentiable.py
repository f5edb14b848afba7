"""A function with a compiled form and compiled gradients: whatever JAX asks of it beyond those two is answered by its plain twin."""

from collections.abc import Callable
from functools import cache, partial

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxvision.kernels._partitioning import in_parts_of
from jaxvision.kernels._primitive import run_alone, split_program
from jaxvision.typing import Array


def _abstract(array: jax.ShapeDtypeStruct) -> jax.core.ShapedArray:
    return jax.core.ShapedArray(array.shape, array.dtype)


def _mapped(found: Primitive, plain: Callable, joins: bool) -> Callable:
    """The rule of ``jax.vmap``: ``joins`` says that what is mapped can join the batch, the first axis of every array."""

    def rule(arguments, places, **static):
        if not joins:
            results = jax.vmap(partial(plain, **static), in_axes=places)(*arguments)
            return results, [0] * len(results)
        count = next(array.shape[place] for array, place in zip(arguments, places) if place is not None)
        rows = [
            jnp.broadcast_to(array, (count, *array.shape)) if place is None else jnp.moveaxis(array, place, 0)
            for array, place in zip(arguments, places)
        ]
        size = rows[0].shape[1]
        joined = found.bind(*(array.reshape(count * size, *array.shape[2:]) for array in rows), **static)
        return [array.reshape(count, size, *array.shape[1:]) for array in joined], [0] * len(joined)

    return rule


def _primitive(name: str, plain: Callable, computed: Callable, joins: bool) -> Primitive:
    """``computed``, whose shapes and derivatives are those of ``plain``; both list their results."""
    found = Primitive(name)
    found.multiple_results = True
    inner = lambda function: lambda *arrays, within, **static: function(*arrays, **static)  # noqa: E731
    plain, computed = inner(plain), inner(computed)

    def pushed(primals, tangents, **static):
        tangents = jax.jvp(partial(plain, **static), tuple(primals), tuple(map(ad.instantiate_zeros, tangents)))[1]
        return found.bind(*primals, **static), tangents

    run_alone(found)
    found.def_abstract_eval(lambda *arrays, **static: [_abstract(one) for one in jax.eval_shape(partial(plain, **static), *arrays)])
    mlir.register_lowering(found, mlir.lower_fun(computed, multiple_results=True))
    batching.primitive_batchers[found] = _mapped(found, plain, joins)
    ad.primitive_jvps[found] = pushed
    return found


@cache
def compiled(target: str, results: tuple[int | Callable, ...], rule: str, **attributes: float) -> Callable[..., list[Array]]:
    """The compiled kernel ``target`` of arrays. Each of ``results`` is the number of an array of the same shape, or a function that gives
    the shape of the result for the arrays; ``rule`` as in ``in_parts_of``.
    """

    def call(*arrays: Array) -> list[Array]:
        shapes = [like(*arrays) if callable(like) else arrays[like].shape for like in results]
        return jax.ffi.ffi_call(target, [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes])(*arrays, **attributes)

    return in_parts_of(call, rule)


def compiled_values(name: str, plain: Callable, computed: Callable, *, joins: bool = False) -> Callable[..., list[Array]]:
    """``plain(*arrays)``, which lists its results, computed by ``computed``; derivatives are ``plain``'s. ``joins``: as in ``_mapped``."""
    found = _primitive(name, plain, computed, joins)
    return lambda *arrays: found.bind(*arrays, within=split_program())


def compiled_function(name: str, plain: Callable, forward: Callable, gradients: Callable, *, joins: bool) -> Callable[..., Array]:
    """``plain(*arrays, **static)``, of float32 arrays, computed by ``forward`` and on the way back by ``gradients``.

    Both list their results: ``forward(*arrays, **static)`` the one value, ``gradients(*arrays, gradient, **static)`` one for each array.
    """

    def slope(*given, **static):
        return list(jax.vjp(partial(plain, **static), *given[:-1])[1](given[-1]))

    def push(*given, **static):
        half = len(given) // 2
        return [jax.jvp(partial(plain, **static), given[:half], given[half:])[1]]

    value = _primitive(name, lambda *arrays, **static: [plain(*arrays, **static)], forward, joins)
    to_tangent = _primitive(f"{name}_tangent", push, push, joins)
    to_gradients = _primitive(f"{name}_gradients", slope, gradients, joins)

    def value_and_tangent(primals, tangents, **static):
        return value.bind(*primals, **static), to_tangent.bind(*primals, *map(ad.instantiate_zeros, tangents), **static)

    def transposed(gradients, *given, **static):
        arrays, tangents = given[: len(given) // 2], given[len(given) // 2 :]
        found = to_gradients.bind(*arrays, ad.instantiate_zeros(gradients[0]), **static)
        return [None] * len(arrays) + [one if ad.is_undefined_primal(tangent) else None for one, tangent in zip(found, tangents)]

    ad.primitive_jvps[value] = value_and_tangent
    ad.primitive_transposes[to_tangent] = transposed
    return lambda *arrays, **static: value.bind(*arrays, within=split_program(), **static)[0]

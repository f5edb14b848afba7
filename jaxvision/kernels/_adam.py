"""Adam's update of an array, its application and the array's average: one pass over memory, where XLA's fusions read everything again."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.kernels import native
from jaxvision.kernels._differentiable import compiled_values
from jaxvision.kernels._partitioning import in_parts_alike
from jaxvision.typing import Array, Float


class AdamNumbers(NamedTuple):
    """The scalars of one update, numbers or arrays [].

    ``rest1``, ``rest2`` and ``rest`` are 1 less ``beta1``, ``beta2`` and ``decay``; ``first`` and ``second`` the factors of mean and square
    that undo their start at zero; ``clip`` is the gradient's factor; ``coupled`` and ``decoupled`` weight decay before and after the
    moments; ``decay`` is the average's; nothing moves where ``finite`` is 0.
    """

    beta1: Array | float
    rest1: Array | float
    beta2: Array | float
    rest2: Array | float
    first: Array | float
    second: Array | float
    epsilon: Array | float
    clip: Array | float
    coupled: Array | float
    decoupled: Array | float
    rate: Array | float
    decay: Array | float
    rest: Array | float
    finite: Array | float


class AdamArrays(NamedTuple):
    """What an update moves, arrays of one shape: a parameter, the two moments of its gradient and, if one is kept, its average."""

    param: Array
    mean: Array
    square: Array
    average: Array | None = None


def _plain(gradient: Array, *moving_and_row: Array) -> list[Array]:
    *moving, row = moving_and_row
    return list(plain_adam(gradient, AdamArrays(*moving), AdamNumbers(*row)))[: len(moving)]


def _compiled(name: str, count: int):
    def call(gradient: Array, *moving_and_row: Array) -> list[Array]:
        shapes = [jax.ShapeDtypeStruct(array.shape, jnp.float32) for array in moving_and_row[:count]]
        in_place = {1 + index: index for index in range(count)}
        return jax.ffi.ffi_call(f"jaxvision_{name}", shapes, input_output_aliases=in_place)(gradient, *moving_and_row)

    return compiled_values(name, _plain, in_parts_alike(call, count))


_update, _update_with_average = _compiled("adam", 3), _compiled("adam_average", 4)


def plain_adam(gradient: Array, moving: AdamArrays, numbers: AdamNumbers) -> AdamArrays:
    """The twin of ``adam``, of the same arrays, that the compiled form must equal."""
    n = numbers
    gradient = n.clip * gradient + n.coupled * moving.param
    mean = n.beta1 * moving.mean + n.rest1 * gradient
    square = n.beta2 * moving.square + n.rest2 * gradient * gradient
    direction = n.first * mean / (jnp.sqrt(n.second * square) + n.epsilon)
    param = moving.param - n.rate * (direction + n.decoupled * moving.param)
    average = None if moving.average is None else n.decay * moving.average + n.rest * param
    return jax.tree.map(lambda new, old: jnp.where(n.finite > 0, new, old), AdamArrays(param, mean, square, average), moving)


def adam_is_compiled(*arrays: Array) -> bool:
    """Whether ``adam`` of these arrays is one pass: on a CPU, where compiled kernels were built, and all are of float32."""
    return native.wanted(*arrays)


def adam(gradient: Float[Array, "..."], moving: AdamArrays, numbers: AdamNumbers) -> AdamArrays:
    """What one update makes of a parameter, its moments and its average (Kingma & Ba, 2015, algorithm 1; Loshchilov & Hutter, 2019).

    Of arrays of one shape. Compiled where compiled kernels were built for a CPU and every array is of float32, and then in place, if
    nothing else reads them; elsewhere the twin.
    """
    given = [array for array in moving if array is not None]
    if not adam_is_compiled(gradient, *given):
        return plain_adam(gradient, moving, numbers)
    row = jnp.stack([jnp.asarray(number, jnp.float32) for number in numbers])
    return AdamArrays(*(_update if moving.average is None else _update_with_average)(gradient, *given, row))

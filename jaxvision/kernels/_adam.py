"""Adam's update of an array, its application and the array's average: one pass over memory, where XLA's fusions read everything again."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.kernels import native
from jaxvision.kernels._partitioning import in_parts
from jaxvision.kernels._primitive import Form, Kernel, always
from jaxvision.typing import Array, Float


class AdamNumbers(NamedTuple):
    """The scalars of one update, numbers or arrays [].

    ``rest1``, ``rest2`` and ``rest`` are 1 - ``beta1``, 1 - ``beta2`` and 1 - ``decay``. ``first`` and ``second`` are the bias corrections
    of mean and square, 1 / (1 - beta^t). ``clip`` multiplies the gradient. ``coupled`` and ``decoupled`` are the weight decay before and
    after the moments, ``decay`` that of the average. Where ``finite`` is 0 nothing changes.

    >>> from jaxvision import kernels
    >>> numbers = kernels.AdamNumbers(0.9, 0.1, 0.99, 0.01, 10.0, 100.0, 1e-8, 1.0, 0.0, 0.0, 0.1, 0.0, 1.0, True)
    >>> numbers.rate
    0.1
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
    """The arrays that an update changes, of one shape: a parameter, both moments of its gradient and, if one is kept, its average.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.AdamArrays(jnp.ones(2), jnp.zeros(2), jnp.zeros(2)).average is None
    True
    """

    param: Array
    mean: Array
    square: Array
    average: Array | None = None


def plain_adam(gradient: Array, moving: AdamArrays, numbers: AdamNumbers) -> AdamArrays:
    """The reference implementation of ``adam``, which the compiled form must equal.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> numbers = kernels.AdamNumbers(0.9, 0.1, 0.99, 0.01, 10.0, 100.0, 1e-8, 1.0, 0.0, 0.0, 0.5, 0.0, 1.0, True)
    >>> moving = kernels.AdamArrays(jnp.ones(1), jnp.zeros(1), jnp.zeros(1))
    >>> round(kernels.plain_adam(jnp.ones(1), moving, numbers).param.item(), 3)  # a first step is as long as the rate
    0.5
    """
    n = numbers
    gradient = n.clip * gradient + n.coupled * moving.param
    mean = n.beta1 * moving.mean + n.rest1 * gradient
    square = n.beta2 * moving.square + n.rest2 * gradient * gradient
    direction = n.first * mean / (jnp.sqrt(n.second * square) + n.epsilon)
    param = moving.param - n.rate * (direction + n.decoupled * moving.param)
    average = None if moving.average is None else n.decay * moving.average + n.rest * param
    return jax.tree.map(lambda new, old: jnp.where(n.finite > 0, new, old), AdamArrays(param, mean, square, average), moving)


def _reference(*arrays: Array) -> AdamArrays:
    *moving, gradient, row = arrays
    return plain_adam(gradient, AdamArrays(*moving), AdamNumbers(*row))


def _by_kernel(*arrays: Array) -> list[Array]:
    def part(*arrays: Array) -> list[Array]:
        *moving, gradient, row = arrays
        target = "jaxvision_adam" if len(moving) == 3 else "jaxvision_adam_average"
        in_place = {1 + index: index for index in range(len(moving))}
        return native.call(target, *(array.shape for array in moving), aliases=in_place)(gradient, *moving, row)

    moving = ["..."] * (len(arrays) - 2)
    return in_parts(part, f"{', '.join(moving)}, ..., n -> {', '.join(moving)}")(*arrays)


_adam, _adam_with_average = (
    Kernel(name, Form("cpu", native.available, _by_kernel), Form(None, always, _reference)) for name in ("adam", "adam_average")
)


def adam_is_compiled(*arrays: Array) -> bool:
    """Whether ``adam`` of these arrays is one pass in a program for a CPU: the compiled kernels were built, and all arrays are float32.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> kernels.adam_is_compiled(jnp.ones(2, jnp.bfloat16))
    False
    """
    return native.available(*arrays)


def adam(gradient: Float[Array, "..."], moving: AdamArrays, numbers: AdamNumbers) -> AdamArrays:
    """A parameter, its moments and its average after one update (Kingma & Ba, 2015, algorithm 1; Loshchilov & Hutter, 2019, algorithm 2).

    All arrays have one shape. The compiled form writes the results in the place of ``moving`` where nothing else reads these arrays.

    >>> import jax.numpy as jnp
    >>> from jaxvision import kernels
    >>> numbers = kernels.AdamNumbers(0.9, 0.1, 0.99, 0.01, 10.0, 100.0, 1e-8, 1.0, 0.0, 0.0, 0.5, 0.0, 1.0, True)
    >>> moving = kernels.AdamArrays(jnp.ones(1), jnp.zeros(1), jnp.zeros(1))
    >>> round(kernels.adam(jnp.ones(1), moving, numbers).param.item(), 3)  # a first step is as long as the rate
    0.5
    """
    given = [array for array in moving if array is not None]
    if not native.available(gradient, *given):
        return plain_adam(gradient, moving, numbers)
    row = jnp.stack([jnp.asarray(number, jnp.float32) for number in numbers])
    return (_adam if moving.average is None else _adam_with_average)(*given, gradient, row)

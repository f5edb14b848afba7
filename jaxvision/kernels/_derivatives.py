"""Rules of differentiation for kernels: forward and reverse mode, any number of times, by faster forms where a kernel has them.

``differentiable`` is for a function whose gradients have faster forms of their own, ``bilinear`` for one that is linear in each of two
arguments. Where no faster form of a derivative is available, it is the derivative of the reference.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.interpreters import ad

from jaxvision.kernels._partitioning import fitted
from jaxvision.kernels._primitive import Form, Kernel, always
from jaxvision.typing import Array


class Gradient(NamedTuple):
    """Forms of a derivative before the reference's, and ``batched`` as in ``Kernel``."""

    forms: tuple[Form, ...] = ()
    batched: tuple[bool, ...] | bool = False


def _zero(result: Array) -> ad.Zero:
    return ad.Zero(jax.typeof(result).to_tangent_aval())


def _restricted(function: Callable, arrays: tuple[Array, ...], differentiated: tuple[bool, ...]) -> tuple[Callable, list[Array]]:
    """``function`` of only the arguments that are differentiated, and these arguments."""

    def of_some(*some: Array) -> Any:
        rest = iter(some)
        return function(*(next(rest) if is_differentiated else array for array, is_differentiated in zip(arrays, differentiated)))

    return of_some, [array for array, is_differentiated in zip(arrays, differentiated) if is_differentiated]


def _selected(form: Form) -> Form:
    """A form of all gradients as one of those that are asked for."""

    def function(*given: Array, differentiated: tuple[bool, ...], **options: Any) -> list[Array]:
        gradients = jax.tree.leaves(form.function(*given, **options))
        return [gradient for gradient, is_differentiated in zip(gradients, differentiated, strict=True) if is_differentiated]

    return Form(form.platform, lambda *given, differentiated, **options: form.available(*given, **options), function)


def differentiable(value: Kernel, *, gradients: Gradient, tangent: Gradient = Gradient(), kept: int = 0) -> tuple[Kernel, Kernel]:
    """Gives ``value`` derivatives with forms of their own; returns the kernels of the tangent and of the gradients.

    ``gradients``: forms ``(*arrays, *kept, *cotangents, **options)`` that list the gradients by all arrays. ``tangent``: forms
    ``(*arrays, *kept, *tangents, **options)``. ``kept`` counts the last results of ``value``, which are arguments of both derivatives and
    have none of their own.
    """

    def reference(options: dict) -> Callable[..., list[Array]]:
        return lambda *arrays: jax.tree.leaves(value.reference(*arrays, **options))[: -kept or None]

    def push(*given: Array, differentiated: tuple[bool, ...], **options: Any) -> list[Array]:
        function, some = _restricted(reference(options), given[: len(differentiated)], differentiated)
        return jax.jvp(function, some, list(given[len(differentiated) + kept :]))[1]

    def pull(*given: Array, differentiated: tuple[bool, ...], **options: Any) -> list[Array]:
        function, some = _restricted(reference(options), given[: len(differentiated)], differentiated)
        return list(jax.vjp(function, *some)[1](list(given[len(differentiated) + kept :])))

    name = value.primitive.name
    to_tangent = Kernel(f"{name}_tangent", *map(_selected, tangent.forms), Form(None, always, push), batched=tangent.batched)
    to_gradients = Kernel(f"{name}_gradients", *map(_selected, gradients.forms), Form(None, always, pull), batched=gradients.batched)

    def value_and_tangent(primals: tuple, tangents: tuple, *, program: Any, **options: Any) -> tuple[list, list]:
        results = value.bind(*primals, **options)
        differentiated = tuple(type(tangent) is not ad.Zero for tangent in tangents)
        some = [tangent for tangent, is_differentiated in zip(tangents, differentiated) if is_differentiated]
        extra = results[len(results) - kept :]
        found = to_tangent.bind(*primals, *extra, *some, differentiated=differentiated, **options)
        return results, [*found, *map(_zero, extra)]

    def transposed(cotangents: list, *given: Any, program: Any, differentiated: tuple[bool, ...], **options: Any) -> list:
        fixed, tangents = given[: len(differentiated) + kept], given[len(differentiated) + kept :]
        found = to_gradients.bind(*fixed, *map(ad.instantiate_zeros, cotangents), differentiated=differentiated, **options)
        return [None] * len(fixed) + [one if ad.is_undefined_primal(tangent) else None for one, tangent in zip(found, tangents)]

    ad.primitive_jvps[value.primitive] = value_and_tangent
    ad.primitive_transposes[to_tangent.primitive] = transposed
    return to_tangent, to_gradients


def linear_in_last(kernel: Kernel, transpose: Kernel) -> None:
    """Derivatives of a kernel that is linear in its last argument and piecewise constant in the others, and of its transpose."""

    def push(primals: tuple, tangents: tuple, *, program: Any, **options: Any) -> tuple[list, list]:
        results, last = kernel.bind(*primals, **options), tangents[-1]
        if type(last) is ad.Zero:
            return results, [*map(_zero, results)]
        return results, kernel.bind(*primals[:-1], last, **options)

    def pull(cotangents: list, *given: Any, program: Any, **options: Any) -> list:
        found = transpose.bind(*given[:-1], *map(ad.instantiate_zeros, cotangents), **options)
        return [*[None] * (len(given) - 1), *found]

    ad.primitive_jvps[kernel.primitive] = push
    ad.primitive_transposes[kernel.primitive] = pull


class Bilinear(NamedTuple):
    """A function of two arrays and its gradients by either; None: the transpose of the function.

    ``to_first(gradient, second, shape=...)`` and ``to_second(first, gradient, shape=...)`` get the shape of their result.
    """

    function: Callable
    to_first: Callable | None = None
    to_second: Callable | None = None


def _to_first(function: Callable) -> Callable[..., Array]:
    def transposed(gradient: Array, second: Array, *, shape: tuple[int, ...], **options: Any) -> Array:
        like = jax.ShapeDtypeStruct(shape, gradient.dtype)
        return jax.linear_transpose(lambda first: function(first, second, **options), like)(gradient)[0]

    return transposed


def _to_second(function: Callable) -> Callable[..., Array]:
    def transposed(first: Array, gradient: Array, *, shape: tuple[int, ...], **options: Any) -> Array:
        like = jax.ShapeDtypeStruct(shape, gradient.dtype)
        return jax.linear_transpose(lambda second: function(first, second, **options), like)(gradient)[0]

    return transposed


def _gradient_form(form: Form, rule: str, place: int) -> Form:
    """A form of the gradient by the argument at ``place``, available for the same operands as the function's."""
    chosen = form.function[1 + place] or (_to_first, _to_second)[place](form.function.function)

    def available(a: Array, b: Array, *, shape: tuple[int, ...], **options: Any) -> bool:
        missing = jax.ShapeDtypeStruct(fitted(shape, rule, a, b), a.dtype)
        return form.available(*((missing, b), (a, missing))[place], **options)

    def function(a: Array, b: Array, *, shape: tuple[int, ...], **options: Any) -> Array:
        return chosen(a, b, shape=fitted(shape, rule, a, b), **options)

    return Form(form.platform, available, function)


def bilinear(names: tuple[str, str, str], rule: str, *forms: Form, loops: bool = False) -> Kernel:
    """A kernel of two arrays that is linear in each; the functions of its forms are ``Bilinear``.

    ``names`` are those of the function and of its gradients by the first and by the second argument. These are three bilinear kernels; the
    derivatives of each are the other two. ``rule`` names the axes, as in ``in_parts``; the first array and the result have a batch.
    ``loops``: see ``Kernel``.
    """
    (first, second), result = (term.strip() for term in rule.split("->")[0].split(",")), rule.split("->")[1].strip()
    rules = (rule, f"{result}, {second} -> {first}", f"{first}, {result} -> {second}")
    forward = Kernel(names[0], *(form._replace(function=form.function.function) for form in forms), batched=(True, False), loops=loops)
    to_first = Kernel(names[1], *(_gradient_form(form, rules[1], 0) for form in forms), batched=(True, False), loops=loops)
    to_second = Kernel(names[2], *(_gradient_form(form, rules[2], 1) for form in forms), loops=loops)

    def bind(kernel: Kernel, a: Array, b: Array, like: Any, **options: Any) -> Array:
        return kernel.bind(a, b, shape=tuple(like.shape), **options)[0]

    _define(forward, lambda g, a, b, **o: bind(to_first, g, b, a, **o), lambda g, a, b, **o: bind(to_second, a, g, b, **o))
    _define(to_first, lambda g, a, b, **o: forward.bind(g, b, **o)[0], lambda g, a, b, **o: bind(to_second, g, a, b, **o))
    _define(to_second, lambda g, a, b, **o: bind(to_first, b, g, a, **o), lambda g, a, b, **o: forward.bind(a, g, **o)[0])
    return forward


def _define(kernel: Kernel, to_first: Callable, to_second: Callable) -> None:
    """The derivatives of one of three bilinear kernels; the gradient of one argument never needs that argument but for its shape."""

    def push(primals: tuple, tangents: tuple, *, program: Any, **options: Any) -> tuple[list, list]:
        results, tangent = kernel.bind(*primals, **options), None
        for place, moved in enumerate(tangents):
            if type(moved) is not ad.Zero:
                (own,) = kernel.bind(*(moved if index == place else primal for index, primal in enumerate(primals)), **options)
                tangent = own if tangent is None else tangent + own
        return results, [_zero(results[0]) if tangent is None else tangent]

    def pull(cotangents: list, a: Any, b: Any, *, program: Any, shape: tuple[int, ...] | None = None, **options: Any) -> list:
        (gradient,) = map(ad.instantiate_zeros, cotangents)
        by_first = ad.is_undefined_primal(a)
        a, b = (one.aval if ad.is_undefined_primal(one) else one for one in (a, b))
        return [to_first(gradient, a, b, **options), None] if by_first else [None, to_second(gradient, a, b, **options)]

    ad.primitive_jvps[kernel.primitive] = push
    ad.primitive_transposes[kernel.primitive] = pull

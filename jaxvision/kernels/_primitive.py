"""Compiled kernels as primitives of JAX: differentiable in either direction as often as one likes, mapped, and split over devices."""

from collections.abc import Callable
from functools import cache, partial

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxvision.kernels import native
from jaxvision.kernels._partitioning import in_parts
from jaxvision.typing import Array


def _mapped(primitive: Primitive, folded: bool) -> Callable:
    """The rule of ``jax.vmap``: mapped images join the batch where the kernel is one (``folded``), else one call follows the other."""

    def rule(arguments, places, *, shape, **static):
        sizes = {argument.shape[place] for argument, place in zip(arguments, places, strict=True) if place is not None}
        (count,) = sizes
        images, other = arguments
        if folded and places[1] is None:
            images = jnp.moveaxis(images, places[0], 0)
            joined = images.reshape(-1, *images.shape[2:])  # [N B, h, w, C]
            found = primitive.bind(joined, other, shape=(count * shape[0], *shape[1:]), **static)
            return found.reshape(count, *shape), 0
        each = [
            jnp.broadcast_to(argument, (count, *argument.shape)) if place is None else jnp.moveaxis(argument, place, 0)
            for argument, place in zip(arguments, places, strict=True)
        ]
        return jax.lax.map(lambda pair: primitive.bind(*pair, shape=shape, **static), tuple(each)), 0

    return rule


def run_alone(found: Primitive) -> None:
    """Makes a primitive outside of any program a program of its own, under ``jax.disable_jit`` too."""

    @cache
    def program(**static) -> Callable:
        return jax.jit(partial(found.bind, **static))

    def run(*arrays: Array, **static):
        with jax.disable_jit(False):
            return program(**static)(*arrays)

    found.def_impl(run)


def primitive(target: str, rule: str, *, summed: bool = False) -> Primitive:
    """The compiled kernel ``target`` of two arrays; ``rule`` as ``parts.in_parts`` wants it. Call it by ``bind``."""
    alone = lambda a, b, shape, options: native.call(target, shape, a, b, **dict(options))  # noqa: E731
    called, found = in_parts(alone, rule, summed=summed), Primitive(target)

    def compute(a: Array, b: Array, *, shape, options, within) -> Array:
        return called(a, b, shape, options)

    run_alone(found)
    found.def_abstract_eval(lambda a, b, *, shape, **static: jax.core.ShapedArray(shape, a.dtype))
    mlir.register_lowering(found, mlir.lower_fun(compute, multiple_results=False))
    batching.primitive_batchers[found] = _mapped(found, folded=not summed)
    return found


def bind(found: Primitive, a: Array, b: Array, shape: tuple[int, ...], **numbers: tuple[int, ...]) -> Array:
    """A float32 array of ``shape`` from ``a`` and ``b``, by a primitive and the integers by name that its kernel wants."""
    options = tuple((name, tuple(given)) for name, given in sorted(numbers.items()))
    return found.bind(a, b, shape=shape, options=options, within=split_program())


@cache
def split_program():
    """Any program that is split over devices: as a parameter ``within`` of a primitive it tells JAX that the primitive's must be known."""
    one = jax.ShapeDtypeStruct((), jnp.float32)
    return jax.make_jaxpr(in_parts(lambda a, b, *static: a * b, ", ->"), static_argnums=(2, 3))(one, one, (), ())


def compiled_convolution(target: str, letters: str) -> Callable[..., Array]:
    """``convolve(image, kernel, stride, padding)`` by the kernel ``target``, ``target``_image_gradient and ``target``_kernel_gradient.

    [B, H, W, C], [kh, kw, c, D] -> [B, h, w, D], float32, stride and padding two integers each. ``letters`` names the dimensions of image,
    kernel and output as ``parts.in_parts`` wants them.
    """
    image, kernel, output = letters.split()
    forward = primitive(target, f"{image}, {kernel} -> {output}")
    to_image = primitive(f"{target}_image_gradient", f"{output}, {kernel} -> {image}")
    to_kernel = primitive(f"{target}_kernel_gradient", f"{image}, {output} -> {kernel}", summed=True)

    # Three functions that are linear in either argument, of which each one's derivatives are the other two. Of each: the gradients by its
    # first and by its second argument, from the gradient g of its result.
    ad.defbilinear(
        forward,
        lambda g, image, kernel, shape, **static: to_image.bind(g, kernel, shape=image.aval.shape, **static),
        lambda g, image, kernel, shape, **static: to_kernel.bind(image, g, shape=kernel.aval.shape, **static),
    )
    ad.defbilinear(
        to_image,
        lambda g, gradient, kernel, shape, **static: forward.bind(g, kernel, shape=gradient.aval.shape, **static),
        lambda g, gradient, kernel, shape, **static: to_kernel.bind(g, gradient, shape=kernel.aval.shape, **static),
    )
    ad.defbilinear(
        to_kernel,
        lambda g, image, gradient, shape, **static: to_image.bind(gradient, g, shape=image.aval.shape, **static),
        lambda g, image, gradient, shape, **static: forward.bind(image, g, shape=gradient.aval.shape, **static),
    )

    def convolve(image: Array, kernel: Array, stride: tuple[int, int], padding: tuple[int, int]) -> Array:
        sizes = zip(image.shape[1:3], padding, kernel.shape, stride)
        rows, columns = ((extent + 2 * pad - taps) // step + 1 for extent, pad, taps, step in sizes)
        shape = (image.shape[0], rows, columns, kernel.shape[3])
        return bind(forward, image, kernel, shape, stride=stride, padding=padding, images=image.shape[:1])

    return convolve

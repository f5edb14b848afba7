"""Kernels as JAX primitives: each has one reference implementation and any number of faster forms.

A kernel is a table of forms. Each row says for which platform the form is (``None``: all), whether it is available for given arrays, and
which function computes it. The last row is the reference. The choice is made when a program is lowered, by the platform that it is lowered
for: ``jax.export`` for another platform never contains a kernel of this one. A form for another accelerator is one function and one row.
"""

import contextlib
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxvision.kernels._partitioning import in_parts
from jaxvision.typing import Array

_REFERENCES: dict[Primitive, Callable] = {}


class Form(NamedTuple):
    """One way to compute a kernel; ``available(*arrays, **options)`` looks at shapes and dtypes alone."""

    platform: str | None  # "cpu", "cuda", "rocm" or "tpu"; None: all
    available: Callable[..., bool]
    function: Callable


def always(*arrays: Array, **options: Any) -> bool:
    """The condition of a form that takes all arrays."""
    return True


def _matmul_precision(precision: Any) -> contextlib.AbstractContextManager:
    return contextlib.nullcontext() if precision is None else jax.default_matmul_precision(precision)


def reference_of(primitive: Primitive) -> Callable[..., list[Array]] | None:
    """The reference implementation of a kernel's primitive, a function of its arrays and parameters; None for JAX's own primitives."""
    return _REFERENCES.get(primitive)


@cache
def _partitioned_program():
    """A program that contains a partitioned function.

    As a parameter of a primitive it tells JAX that lowering the primitive needs to know the devices.
    """
    one = jax.ShapeDtypeStruct((), jnp.float32)
    return jax.make_jaxpr(in_parts(lambda x: x, "... -> ..."))(one)


@cache
def _outline(function: Callable, structs: tuple, options: tuple) -> Any:
    return jax.eval_shape(partial(function, **dict(options)), *structs)


class Kernel:
    """A primitive with the given forms, the reference last.

    ``batched``: the arguments whose first axis is a batch axis (True: all). The first axis of every result must then be a batch axis
    too, and ``jax.vmap`` joins the mapped axis with it. Otherwise ``jax.vmap`` maps the reference; with ``loops`` a program for the CPU
    calls the kernel once for each example instead. The derivatives are those of the reference; ``_derivatives.py`` has other rules.
    """

    def __init__(self, name: str, *forms: Form, batched: tuple[bool, ...] | bool = False, loops: bool = False):
        self.forms, self.reference, self.batched, self.loops = forms, forms[-1].function, batched, loops
        self.primitive = Primitive(name)
        self.primitive.multiple_results = True
        self.primitive.def_impl(self._evaluate)
        self.primitive.def_abstract_eval(self._shapes)
        for platform in {form.platform for form in forms}:
            mlir.register_lowering(
                self.primitive, mlir.lower_fun(partial(self._choose, platform), multiple_results=True), platform=platform
            )
        batching.primitive_batchers[self.primitive] = self._map
        ad.primitive_jvps[self.primitive] = self._differentiate
        _REFERENCES[self.primitive] = self._referred

    def __call__(self, *arrays: Array, **options: Any) -> Any:
        """The result, structured as the reference's; the reference itself where no other form is available on any platform."""
        if not any(form.available(*arrays, **options) for form in self.forms[:-1]):
            return self.reference(*arrays, **options)
        return jax.tree.unflatten(jax.tree.structure(self._like(arrays, options)), self.bind(*arrays, **options))

    def bind(self, *arrays: Array, **options: Any) -> list[Array]:
        """The results by the primitive; ``options`` are hashable.

        The precision that ``jax.default_matmul_precision`` sets here becomes a parameter, since the reference is traced later. The
        derivatives get the same parameter.
        """
        options = {"precision": jax.config.jax_default_matmul_precision} | options
        return self.primitive.bind(*arrays, program=_partitioned_program(), **options)

    def _choose(self, platform: str | None, *arrays: Array, program: Any, precision: Any, **options: Any) -> list[Array]:
        """The results by the first form for the platform that is available: the one place where a form is chosen."""
        rows = (form for form in self.forms if form.platform in (platform, None) and form.available(*arrays, **options))
        with _matmul_precision(precision):
            return jax.tree.leaves(next(rows).function(*arrays, **options))

    def _referred(self, *arrays: Array, program: Any = None, precision: Any = None, **options: Any) -> list[Array]:
        with _matmul_precision(precision):
            return jax.tree.leaves(self.reference(*arrays, **options))

    def _like(self, arrays: tuple[Array, ...], options: dict) -> Any:
        structs = tuple(jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays)
        return _outline(self.reference, structs, tuple(sorted(options.items())))

    def _shapes(self, *arrays: Any, program: Any, precision: Any, **options: Any) -> list[jax.core.ShapedArray]:
        return [jax.core.ShapedArray(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(self._like(arrays, options))]

    def _evaluate(self, *arrays: Array, **parameters: Any) -> list[Array]:
        """Outside of a program the primitive is compiled by itself, under ``jax.disable_jit`` too."""
        with jax.disable_jit(False):
            return _compiled(self.primitive, tuple(sorted(parameters.items())))(*arrays)

    def _differentiate(self, primals: tuple, tangents: tuple, *, program: Any, **options: Any) -> tuple[list, list]:
        moving = tuple(map(ad.instantiate_zeros, tangents))
        return self.bind(*primals, **options), jax.jvp(partial(self._referred, **options), tuple(primals), moving)[1]

    def _map(self, arrays: tuple, axes: tuple, *, program: Any, **options: Any) -> tuple[list, list]:
        batched = (self.batched,) * len(arrays) if isinstance(self.batched, bool) else self.batched
        if any(batched) and all(batch or axis is None for batch, axis in zip(batched, axes, strict=True)):
            results = self._join(arrays, axes, batched, options)
        else:
            whole = jax.vmap(partial(self._referred, **options), in_axes=axes)
            each = partial(self._loop, axes, options)
            results = jax.lax.platform_dependent(*arrays, cpu=each, default=whole) if self.loops else whole(*arrays)
        return results, [0] * len(results)

    def _join(self, arrays: tuple, axes: tuple, batched: tuple[bool, ...], options: dict) -> list[Array]:
        """The mapped axis becomes part of the batch."""
        count = next(array.shape[axis] for array, axis in zip(arrays, axes) if axis is not None)
        joined, size = list(arrays), 0
        for index, (array, axis) in enumerate(zip(arrays, axes)):
            if batched[index]:
                rows = jnp.broadcast_to(array, (count, *array.shape)) if axis is None else jnp.moveaxis(array, axis, 0)
                size, joined[index] = rows.shape[1], rows.reshape(count * rows.shape[1], *rows.shape[2:])
        return [result.reshape(count, size, *result.shape[1:]) for result in self.bind(*joined, **options)]

    def _loop(self, axes: tuple, options: dict, *arrays: Array) -> list[Array]:
        """One call for each mapped example."""
        mapped = [jnp.moveaxis(array, axis, 0) for array, axis in zip(arrays, axes) if axis is not None]

        def one(examples: list[Array]) -> list[Array]:
            examples = iter(examples)
            return self.bind(*(array if axis is None else next(examples) for array, axis in zip(arrays, axes)), **options)

        return jax.lax.map(one, mapped)


@cache
def _compiled(primitive: Primitive, parameters: tuple) -> Callable:
    return jax.jit(partial(primitive.bind, **dict(parameters)))

"""Traces a network to a jaxpr, without computing anything. Each call of a module becomes a nested equation of its own."""

import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

_MARK = "jaxvision_call_"


class Call(NamedTuple):
    """One call of a module: the module, the path of its parameters, and whether it calls no other module (``leaf``)."""

    module: nn.Module
    path: tuple[str, ...]
    leaf: bool


class Program(NamedTuple):
    """A traced evaluation: its jaxpr, the module calls, the shapes of the parameters, and how many inputs are variables."""

    jaxpr: Any
    calls: list[Call]
    params: dict
    variables: int


def call_number(equation) -> int | None:
    """The number of the module call that an equation stands for; None for any other equation."""
    name = str(equation.params.get("name", ""))
    return int(name.removeprefix(_MARK)) if name.startswith(_MARK) else None


def _marker(calls: list[Call]):
    """An interceptor that wraps every call of a module in an equation of its own and appends the call to ``calls``."""
    open_calls = []

    def intercept(next_function, arguments, keywords, context):
        if context.method_name == "setup":
            return next_function(*arguments, **keywords)
        number, structure = len(calls), []
        calls.append(Call(context.module, tuple(context.module.path), True))
        if open_calls:
            calls[open_calls[-1]] = calls[open_calls[-1]]._replace(leaf=False)

        def run():
            leaves, tree = jax.tree.flatten(next_function(*arguments, **keywords))
            structure.append((tree, [None if isinstance(leaf, jax.Array) else leaf for leaf in leaves]))
            return [leaf for leaf in leaves if isinstance(leaf, jax.Array)]

        run.__name__ = f"{_MARK}{number}"
        open_calls.append(number)
        try:
            arrays = iter(jax.jit(run)())
        finally:
            open_calls.pop()
        tree, others = structure[0]
        return jax.tree.unflatten(tree, [next(arrays) if leaf is None else leaf for leaf in others])

    return intercept


def _check_model(model: Any, inputs: tuple) -> None:
    if not isinstance(model, nn.Module):
        example = f"jv.create_model({model!r})" if isinstance(model, str) else "jv.create_model('resnet18')"
        raise TypeError(f"model: found {model!r}, expected a Linen module such as {example}")
    try:
        inspect.signature(model.__call__).bind(*inputs)
    except TypeError as error:
        problem = f"model: {type(model).__name__} cannot be called with an image alone ({error})"
        raise ValueError(f"{problem}; expected a module of one input; wrap it in a module that passes the other inputs") from None


def trace_call(model: nn.Module, inputs: tuple) -> Program:
    """Trace ``model`` on ``inputs`` (arrays, or their shapes and dtypes) in evaluation. Parameters are shapes alone."""
    _check_model(model, inputs)
    key = jax.eval_shape(lambda: jax.random.key(0))  # allocates nothing on a device
    variables = jax.eval_shape(model.init, key, *inputs)
    calls: list[Call] = []

    def evaluate(variables, *arrays):
        with nn.intercept_methods(_marker(calls)):
            return jax.tree.leaves(
                model.apply(variables, *arrays, mutable="intermediates")[0]
            )  # without it equal blocks would share one jaxpr

    program = jax.make_jaxpr(evaluate)(variables, *inputs)
    return Program(program, calls, variables.get("params", {}), len(jax.tree.leaves(variables)))


def image_of(shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    """Shape and dtype of a batch of one image of ``shape``."""
    return jax.ShapeDtypeStruct((1, *shape), dtype)

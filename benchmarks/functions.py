"""Functions of arrays as sides of a comparison: the value, or value and gradients with respect to some arguments."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import reference
from benchmarks.side_by_side import Side, memory_of


def _named(value, gradients) -> dict[str, np.ndarray]:
    return {"value": np.asarray(value)} | {f"gradient {index}": np.asarray(gradient) for index, gradient in enumerate(gradients)}


def ours(function: Callable, given: Sequence[np.ndarray], wanted: Sequence[int], signal: np.ndarray | None) -> Side:
    """A jitted function of ``given``. With a ``signal`` (the gradient of its value) also its gradients for the arguments ``wanted``."""
    wanted, last = tuple(wanted), None

    def both(signal, *given):
        part = lambda *some: function(*[some[wanted.index(i)] if i in wanted else array for i, array in enumerate(given)])  # noqa: E731
        value, back = jax.vjp(part, *(given[i] for i in wanted))
        return value, back(signal)

    program = jax.jit(both if signal is not None else lambda _, *given: (function(*given), ()))
    placed = jax.device_put([jnp.zeros(()) if signal is None else signal, *given])

    def run() -> None:
        nonlocal last
        last = jax.block_until_ready(program(*placed))

    return Side(run, lambda: _named(*last), memory_of(program, *placed))


def theirs(function: Callable, given: Sequence[np.ndarray], wanted: Sequence[int], signal: np.ndarray | None) -> Side:
    """The same for a function of PyTorch tensors, on the device that JAX uses."""
    import torch

    where, last = reference.device(), None
    tensors = [torch.from_numpy(np.array(array)).to(where) for array in given]
    for index in wanted:
        tensors[index].requires_grad_(signal is not None)
    upstream = None if signal is None else torch.from_numpy(np.asarray(signal)).to(where)

    def run() -> None:
        nonlocal last
        with torch.set_grad_enabled(upstream is not None):
            value = function(*tensors)
            gradients = () if upstream is None else torch.autograd.grad(value, [tensors[index] for index in wanted], upstream)
        last = value.detach(), gradients
        reference.wait(where)

    result = lambda: _named(last[0].cpu().numpy(), [gradient.cpu().numpy() for gradient in last[1]])  # noqa: E731
    return Side(run, result, reference.memory_of(run, where))

"""Teachers: parameters in memory that follow the student as a moving average, and how far they are from it."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvision.core import Carry
from jaxvision.objectives import _modules
from jaxvision.typing import Array


def without_drop(encoder: nn.Module):
    """The encoder without dropout and stochastic depth, as a teacher in training mode uses it (with batch statistics)."""
    return encoder.clone(**{name: 0.0 for name in ("drop_rate", "drop_path_rate") if hasattr(encoder, name)})


def start(params: dict, stats: dict, names: tuple[str, ...]) -> dict:
    """The initial memory {"teacher", "stats"}: copies of the student's parameters and running statistics of the modules ``names``."""
    return jax.tree.map(jnp.copy, {"teacher": _modules.of_modules(params, names), "stats": _modules.of_modules(stats, names)})


def moving_average(teacher, student, momentum: Array | float):
    """momentum teacher + (1 - momentum) student, leaf by leaf (Tarvainen & Valpola, 2017; Grill et al., 2020)."""
    return jax.tree.map(lambda old, new: (momentum * old + (1 - momentum) * new).astype(old.dtype), teacher, student)


def update(params: dict, carry: Carry, names: tuple[str, ...], momentum: float | Callable, step: Array) -> Carry:
    """The carry with its teacher moved towards the student's modules ``names``: the ``after`` of an objective with a teacher."""
    student = _modules.of_modules(params, names)
    moved = moving_average(carry.memory["teacher"], student, _modules.value_at(momentum, step))
    return carry._replace(memory=carry.memory | {"teacher": moved})


def distance(memory: dict, params: dict, names: tuple[str, ...]) -> Array:
    """||teacher - student|| / ||student|| over all parameters of the modules ``names``; no gradient."""
    student = jax.lax.stop_gradient(_modules.of_modules(params, names))
    square = lambda tree: sum(jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(tree))  # noqa: E731
    difference = jax.tree.map(jnp.subtract, memory["teacher"], student)
    return jnp.sqrt(square(difference) / jnp.maximum(square(student), 1e-30))

"""Chance: a number from a range, an operation sometimes, one operation of several."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxvision.augment.batching import check_image, check_key
from jaxvision.typing import Array, Key

Parameter = float | tuple[float, float]  # fixed, or drawn uniformly from low to high


def check_parameter(name: str, value: Parameter, *, low: float = -math.inf, high: float = math.inf) -> None:
    """Raises ValueError unless ``value`` is a number or a pair (low, high) in order, and lies between ``low`` and ``high``."""
    ends = tuple(value) if hasattr(value, "__len__") else (value, value)
    if len(ends) != 2 or not low <= ends[0] <= ends[1] <= high:
        span = f", from {low:g} to {high:g}" if math.isfinite(low) and math.isfinite(high) else f", at least {low:g}"
        raise ValueError(f"{name}: found {value}, expected a number or (low, high){span if math.isfinite(low) else ''}")


def check_probability(probability: float, name: str = "probability") -> None:
    """Raises ValueError unless ``probability`` is one; ``name`` is the argument's."""
    if not 0 <= probability <= 1:
        raise ValueError(f"{name}: found {probability}, expected 0 to 1")


def drawn(key: Key | None, *parameters: Parameter) -> list:
    """The value of each parameter: a number is itself, a pair (low, high) gives a uniform draw; without a pair no key is needed."""
    if not any(hasattr(parameter, "__len__") for parameter in parameters):
        return list(parameters)
    check_key(key)
    shares = jax.random.uniform(key, (len(parameters),))
    return [
        parameter[0] + (parameter[1] - parameter[0]) * share if hasattr(parameter, "__len__") else parameter
        for parameter, share in zip(parameters, shares, strict=True)
    ]


def drawing(formula: Callable, *parameters: Parameter) -> Callable:
    """``(key, image [H, W, C]) -> image`` of ``formula(image, *parameters)``, each parameter fixed or drawn."""

    def apply(key, image):
        check_image(image)
        return formula(image, *drawn(key, *parameters))

    return apply


def random_apply(operation: Callable, probability: float) -> Callable:
    """``operation`` with a probability, else the image as it is: ``(key, image [H, W, C]) -> image [H, W, C]``.

    With probability 1 it is the operation itself. Raises ValueError for an operation that changes the shape, or no probability.
    """
    check_probability(probability)
    if probability == 1:
        return operation

    def apply(key, image):
        check_key(key)
        chance_key, operation_key = jax.random.split(key)
        changed = operation(operation_key, image)
        if changed.shape != image.shape:
            raise ValueError(f"operation: gives shape {changed.shape} for {image.shape}; random_apply needs one that keeps the shape")
        return jnp.where(jax.random.bernoulli(chance_key, float(probability)), changed, image)

    return apply


def one_of(*operations: Callable, weights: tuple[float, ...] | None = None) -> Callable:
    """One of the operations, drawn anew for each image: ``(key, image [H, W, C]) -> image``.

    ``weights``: how often each is taken, in proportion; without them all alike. Mapped over a batch, all of them are computed.
    Raises ValueError where there is none, where weights do not fit, or where the operations give different shapes.
    """
    weights = (1.0,) * len(operations) if weights is None else tuple(weights)
    if not operations or len(weights) != len(operations) or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(f"weights: found {weights} for {len(operations)} operations, expected one each, none negative, not all 0")

    def apply(key, image) -> Array:
        check_key(key)
        found = [jax.eval_shape(operation, key, image) for operation in operations]
        kinds = {(result.shape, result.dtype.name) for result in found}
        if len(kinds) > 1:
            given = ", ".join(f"{shape} of {dtype}" for shape, dtype in sorted(kinds))
            raise ValueError(f"operations: found results {given}, expected one shape and dtype from all of them")
        choice_key, operation_key = jax.random.split(key)
        index = jax.random.choice(choice_key, len(operations), p=jnp.asarray(weights) / sum(weights))
        return jax.lax.switch(index, operations, operation_key, image)

    return apply

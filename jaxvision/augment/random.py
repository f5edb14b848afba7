"""Random draws: a number from a range, a rectangle, an operation sometimes, one operation of several."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxvision import checks
from jaxvision.augment.batching import Augmentation, check_image, check_key
from jaxvision.typing import Array, Key

Parameter = float | tuple[float, float]  # fixed, or drawn uniformly from (low, high)

ATTEMPTS = 10  # candidate rectangles; torchvision's RandomResizedCrop and RandomErasing draw as many


def check_parameter(name: str, value: Parameter, *, low: float = -math.inf, high: float = math.inf) -> None:
    """Raise ValueError unless ``value`` is a number or a pair (low, high) in order, and lies between ``low`` and ``high``."""
    ends = tuple(value) if hasattr(value, "__len__") else (value, value)
    if len(ends) != 2 or not low <= ends[0] <= ends[1] <= high:
        span = f", from {low:g} to {high:g}" if math.isfinite(low) and math.isfinite(high) else f", at least {low:g}"
        raise ValueError(f"{name}: found {value}, expected a number or (low, high){span if math.isfinite(low) else ''}")


def draw(key: Key | None, *parameters: Parameter) -> list:
    """The value of each parameter: a number stays, a pair (low, high) gives a uniform draw. Without pairs no key is needed."""
    if not any(hasattr(parameter, "__len__") for parameter in parameters):
        return list(parameters)
    check_key(key)
    uniform = jax.random.uniform(key, (len(parameters),))
    return [
        parameter[0] + (parameter[1] - parameter[0]) * number if hasattr(parameter, "__len__") else parameter
        for parameter, number in zip(parameters, uniform, strict=True)
    ]


def from_formula(formula: Callable, *parameters: Parameter) -> Augmentation:
    """``(key, image [H, W, C]) -> image`` of ``formula(image, *parameters)``, where each parameter is fixed or drawn."""

    def apply(key, image):
        check_image(image)
        return formula(image, *draw(key, *parameters))

    return apply


def draw_sides(area_key: Key, ratio_key: Key, pixels: int, scale: tuple[float, float], ratio: tuple[float, float]) -> tuple[Array, Array]:
    """The sides of ``ATTEMPTS`` random rectangles, two arrays [ATTEMPTS] int32.

    The product of the two sides is ``pixels`` times a uniform draw from ``scale``. The first divided by the second is a log-uniform draw
    from ``ratio``.
    """
    area = pixels * jax.random.uniform(area_key, (ATTEMPTS,), minval=scale[0], maxval=scale[1])
    aspect = jnp.exp(jax.random.uniform(ratio_key, (ATTEMPTS,), minval=math.log(ratio[0]), maxval=math.log(ratio[1])))
    return jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32), jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)


def draw_corner(top_key: Key, left_key: Key, shape: tuple[int, int], height: Array, width: Array) -> tuple[Array, Array]:
    """A uniform (top, left) of a rectangle that lies inside an image of ``shape`` (H, W)."""
    top = jax.random.randint(top_key, (), 0, shape[0] - height + 1)
    return top, jax.random.randint(left_key, (), 0, shape[1] - width + 1)


def random_apply(operation: Augmentation, probability: float) -> Augmentation:
    """Apply ``operation`` with a probability, else return the image: ``(key, image [H, W, C]) -> image [H, W, C]``.

    With probability 1 the result is ``operation`` itself. Under ``vmap`` the operation is computed for every image.

    Raises ValueError if ``probability`` is not in [0, 1], or if the operation changes the shape of the image.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> sometimes = jv.augment.random_apply(jv.augment.invert(), 0.5)
    >>> images = jax.jit(jax.vmap(sometimes, (0, None)))(jax.random.split(jax.random.key(0), 100), jnp.zeros((2, 2, 1)))
    >>> bool(0.3 < images.mean() < 0.7)
    True
    """
    checks.fraction(probability=probability)
    if probability == 1:
        return operation

    def apply(key, image):
        check_key(key)
        chance_key, operation_key = jax.random.split(key)
        changed = operation(operation_key, image)
        if changed.shape != image.shape:
            raise ValueError(f"operation: found a result of shape {changed.shape} for {image.shape}, expected the shape of the image")
        return jnp.where(jax.random.bernoulli(chance_key, float(probability)), changed, image)

    return apply


def one_of(*operations: Augmentation, weights: Sequence[float] | None = None) -> Augmentation:
    """Apply one of several operations, drawn for each image: ``(key, image [H, W, C]) -> image``.

    Operation i is drawn with probability ``weights[i] / sum(weights)``; without weights all are equally likely. Under ``vmap`` all
    operations are computed for every image.

    Raises ValueError if there is no operation, if the weights do not fit, or if the operations return different shapes or dtypes.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> operation = jv.augment.one_of(jv.augment.invert(), jv.augment.brightness(0.5), weights=(1, 0))
    >>> float(operation(jax.random.key(0), jnp.zeros((2, 2, 3))).mean())
    1.0
    """
    weights = (1.0,) * len(operations) if weights is None else tuple(weights)
    if not operations or len(weights) != len(operations) or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(f"weights: found {weights} for {len(operations)} operations, expected one for each, none negative, not all 0")

    def apply(key, image) -> Array:
        check_key(key)
        results = [jax.eval_shape(operation, key, image) for operation in operations]
        kinds = {(result.shape, result.dtype.name) for result in results}
        if len(kinds) > 1:
            listed = ", ".join(f"{shape} of {dtype}" for shape, dtype in sorted(kinds))
            raise ValueError(f"operations: found results {listed}, expected one shape and dtype from all of them")
        choice_key, operation_key = jax.random.split(key)
        index = jax.random.choice(choice_key, len(operations), p=jnp.asarray(weights) / sum(weights))
        return jax.lax.switch(index, operations, operation_key, image)

    return apply

"""Robustness: the accuracy of a classifier on shifted, rotated, darkened and partly occluded images."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision.augment.color import adjust_brightness
from jaxvision.augment.erasing import painted
from jaxvision.augment.geometry import affine_matrix, warped
from jaxvision.data.source import Source
from jaxvision.evaluate.inference import outputs, prepared
from jaxvision.evaluate.metrics import top_k
from jaxvision.typing import Array, to_float


def _shifted(image: Array, pixels: Array) -> Array:
    return warped(image, affine_matrix(translate=(pixels, 0.0)))


def _rotated(image: Array, degrees: Array) -> Array:
    return warped(image, affine_matrix(-degrees))


def _occluded(image: Array, share: Array) -> Array:
    """The image with a gray rectangle in its middle: whole pixels, the image's aspect ratio, about a ``share`` of its area."""
    height, width = (jnp.round(side * jnp.sqrt(share)) for side in image.shape[:2])
    top, left = (jnp.floor((side - length) / 2) for side, length in zip(image.shape[:2], (height, width), strict=True))
    return painted(image, jnp.stack([top, left, height, width]), 0.5)


_CHANGES = {  # name: (operation, amount that changes nothing)
    "shift": (_shifted, 0.0),
    "rotation": (_rotated, 0.0),
    "brightness": (adjust_brightness, 1.0),
    "occlusion": (_occluded, 0.0),
}


@partial(jax.jit, static_argnames=("model", "recipe", "kind"))
def _logits(model, variables, image, amount, recipe, kind: str):
    image = to_float(jnp.asarray(image))
    operation, neutral = _CHANGES[kind]
    changed = jax.vmap(lambda one: operation(one, amount))(image)
    image = jnp.where(amount == neutral, image, changed)  # the neutral amount keeps the pixels exactly
    return model.apply(variables, prepared(image, recipe))


def robustness(
    model: nn.Module,
    variables: Mapping,
    source: Source,
    *,
    recipe: Callable | None = None,
    shifts: Sequence[float] = (0, 1, 2, 4, 8),
    rotations: Sequence[float] = (0, 5, 15, 30, 90),
    brightness: Sequence[float] = (0.25, 0.5, 1.0, 1.5),
    occlusions: Sequence[float] = (0, 0.05, 0.1, 0.25),
    batch_size: int = 256,
) -> list[dict]:
    """Accuracy of a classifier on changed images: one dict ``{"kind", "amount", "top1"}`` for each amount of each kind of change.

    ``shifts``: pixels to the right; ``rotations``: degrees, counter-clockwise (both fill with black); ``brightness``: factors, 0 is black;
    ``occlusions``: fraction of the area that a gray rectangle in the middle covers. Pixels are changed in [0, 1], before ``recipe``
    (``(key, image) -> image``, called with key None). An amount that changes nothing gives the plain accuracy. Each kind compiles one
    program. Raises ValueError for an amount that is not finite, a negative factor, and a fraction outside [0, 1].

    >>> import jaxvision as jv  # slow
    >>> import jax, jax.numpy as jnp
    >>> source, model = jv.data.subset(jv.data.digits("test"), range(8)), jv.create_model("lenet5", num_classes=10)
    >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    >>> none = {"rotations": (), "brightness": (), "occlusions": ()}
    >>> [row["amount"] for row in jv.evaluate.robustness(model, variables, source, shifts=(0, 2), **none)]
    [0, 2]
    """
    sweeps = dict(zip(_CHANGES, (shifts, rotations, brightness, occlusions), strict=True))
    for kind, amounts in sweeps.items():
        low, high = {"brightness": (0, math.inf), "occlusion": (0, 1)}.get(kind, (-math.inf, math.inf))
        for amount in amounts:
            if not (math.isfinite(amount) and low <= amount <= high):
                raise ValueError(f"{kind}: found {amount}, expected a finite number from {low} to {high}")

    def accuracy(kind: str, amount: float) -> float:
        def forward(batch: dict):
            return _logits(model, variables, batch["image"], jnp.float32(amount), recipe, kind), batch["valid"]

        return top_k(*outputs(forward, source, batch_size=batch_size))

    return [{"kind": kind, "amount": amount, "top1": accuracy(kind, amount)} for kind, amounts in sweeps.items() for amount in amounts]

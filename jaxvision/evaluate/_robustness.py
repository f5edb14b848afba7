"""Robustness: how a classifier's accuracy falls when its images are shifted, turned, darkened or partly hidden."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from jaxvision.augment.color import adjust_brightness
from jaxvision.augment.erasing import painted
from jaxvision.augment.geometry import affine_matrix, warped
from jaxvision.evaluate.inference import outputs, prepared
from jaxvision.evaluate.metrics import top_k
from jaxvision.typing import Array, to_float


def _shifted(image: Array, pixels: Array) -> Array:
    return warped(image, affine_matrix(translate=(pixels, 0.0)))


def _turned(image: Array, degrees: Array) -> Array:
    return warped(image, affine_matrix(-degrees))


def _hidden(image: Array, share: Array) -> Array:
    """With a gray rectangle of the image's proportions in its middle, whole pixels of about a ``share`` of the area."""
    height, width = (jnp.round(side * jnp.sqrt(share)) for side in image.shape[:2])
    top, left = (jnp.floor((side - length) / 2) for side, length in zip(image.shape[:2], (height, width), strict=True))
    return painted(image, jnp.stack([top, left, height, width]), 0.5)


_KINDS = {"shift": (_shifted, 0.0), "rotation": (_turned, 0.0), "brightness": (adjust_brightness, 1.0), "occlusion": (_hidden, 0.0)}


@partial(jax.jit, static_argnames=("model", "recipe", "kind"))
def _logits(model, variables, image, amount, recipe, kind: str):
    image = to_float(jnp.asarray(image))
    operation, neutral = _KINDS[kind]
    changed = jax.vmap(lambda one: operation(one, amount))(image)
    image = jnp.where(amount == neutral, image, changed)  # what changes nothing leaves the very pixels, whatever sampling rounds
    return model.apply(variables, prepared(image, recipe))


def robustness(
    model,
    variables,
    source,
    *,
    recipe: Callable | None = None,
    shifts: Sequence[float] = (0, 1, 2, 4, 8),
    rotations: Sequence[float] = (0, 5, 15, 30, 90),
    brightness: Sequence[float] = (0.25, 0.5, 1.0, 1.5),
    occlusions: Sequence[float] = (0, 0.05, 0.1, 0.25),
    batch_size: int = 256,
) -> list[dict]:
    """A classifier's accuracy on changed images: ``{"kind", "amount", "top1"}``, a row for every amount of every kind.

    ``shifts``: pixels to the right; ``rotations``: degrees, counter-clockwise (both show black where nothing was); ``brightness``:
    factors, 0 black; ``occlusions``: the share of the area that a gray rectangle in the middle hides. Pixels are changed in [0, 1],
    before ``recipe`` (``(key, image) -> image``; it gets no key). An amount that changes nothing gives the plain accuracy. One program a
    kind. Raises ValueError for an amount that is not finite, a negative factor, or a share outside [0, 1].
    """
    sweeps = dict(zip(_KINDS, (shifts, rotations, brightness, occlusions), strict=True))
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

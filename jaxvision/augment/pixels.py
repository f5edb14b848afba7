"""Pixels where they are: the planes of an image, flips, normalisation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxvision.augment.batching import check_image, check_key
from jaxvision.augment.random import check_probability
from jaxvision.typing import Array, Batch, Key, to_float


def planar(formula: Callable) -> Callable:
    """``(planes [C, H, W]) -> planes`` as ``(image [H, W, C]) -> image`` of the same dtype, computed in at least float32.

    Three channels in a row at the end of an array would leave a processor's vectors empty; of two formulas in a row, the compiler cancels
    the moves between them.
    """

    def apply(image: Array) -> Array:
        check_image(image)
        planes = jnp.moveaxis(image, 2, 0).astype(jnp.promote_types(image.dtype, jnp.float32))
        return jnp.moveaxis(formula(planes), 0, 2).astype(image.dtype)

    return apply


def _flipped(image: Array, axis: int, flip: Array) -> Array:
    """The image mirrored along an axis, or not."""
    places = jnp.arange(image.shape[axis])
    # Not a choice of two images: to make either, a compiler would repeat what came before, and round it otherwise.
    return jnp.take(image, jnp.where(flip, places[::-1], places), axis, mode="clip")


def _random_flip(axis: int, probability: float) -> Callable:
    check_probability(probability)

    def apply(key, image):
        check_key(key)
        check_image(image)
        return _flipped(image, axis, jax.random.bernoulli(key, float(probability)))

    return apply


def random_horizontal_flip(*, probability: float = 0.5) -> Callable:
    """Mirror left and right with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``."""
    return _random_flip(1, probability)


def alternating_horizontal_flip() -> Callable:
    """Mirror half of the images at random in the first epoch, the other half in the next, and so on: ``(key, batch) -> batch``.

    Any two epochs in a row show both sides of every image, which random flips do for half of them (Jordan, "94% on CIFAR-10 in 3.29
    Seconds on a Single GPU", 2024, section 3.6). Raises ValueError for a batch without ``index`` or ``epoch``.
    """

    def apply(key: Key, batch: Batch) -> Batch:
        check_key(key)
        if missing := {"index", "epoch"} - set(batch):
            raise ValueError(f"batch: found no {' or '.join(sorted(missing))}, which say whose turn it is; batches of jv.data have them")
        first = jax.vmap(lambda index: jax.random.bernoulli(jax.random.fold_in(key, index)))(batch["index"])
        mirrored = (first.astype(jnp.int32) + batch["epoch"]) % 2 == 1
        image = to_float(batch["image"])
        return batch | {"image": jax.vmap(lambda image, flip: _flipped(image, 1, flip))(image, mirrored)}

    return apply


def random_vertical_flip(*, probability: float = 0.5) -> Callable:
    """Mirror top and bottom with a probability: ``(key, image [H, W, C]) -> image [H, W, C]``."""
    return _random_flip(0, probability)


def normalize(mean, std) -> Callable:
    """(image - mean) / std channel by channel; ``mean`` and ``std`` are numbers or one of each a channel, for pixels in [0, 1].

    Raises ValueError for a ``std`` that is not positive, or values that are not one a channel.
    """
    mean, std = (tuple(value) if hasattr(value, "__len__") else (value,) for value in (mean, std))
    if not all(value > 0 for value in std):
        raise ValueError(f"std: found {std}, expected numbers above 0, which the image is divided by")

    def apply(key, image):
        check_image(image)
        if {len(mean), len(std)} - {1, image.shape[-1]}:
            raise ValueError(f"mean, std: found {len(mean)} and {len(std)} values, expected 1 or {image.shape[-1]}, one a channel")
        return (image - jnp.asarray(mean, image.dtype)) / jnp.asarray(std, image.dtype)

    return apply

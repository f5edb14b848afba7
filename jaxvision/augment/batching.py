"""From one image to a batch, and from one operation to a recipe: who draws with which key is decided here."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxvision import axis
from jaxvision.typing import Array, Batch, Key, to_float


def check_image(image: Array) -> None:
    """Raises ValueError unless ``image`` is one float image [H, W, C]."""
    if image.ndim != 3 or not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"image: found shape {image.shape} of {image.dtype}, expected one float image [H, W, C]; each() maps over a batch")


def check_key(key: Key | None) -> None:
    """Raises ValueError where a random operation gets no key: it stands in a recipe for evaluation."""
    if key is None:
        raise ValueError("key: found None, expected a PRNG key, since this operation draws; a recipe for evaluation has none that does")


def example_keys(key: Key, batch: Batch) -> Array:
    """A key for every example [B]: ``key`` folded with its epoch and its index in the data set, so that it does not matter who else is
    in the batch or on which device; for batches without these, with its position in the global batch.
    """
    check_key(key)
    fold = jax.vmap(jax.random.fold_in)
    if "index" in batch and "epoch" in batch:
        return fold(jax.vmap(jax.random.fold_in, (None, 0))(key, batch["epoch"]), batch["index"])
    return axis.example_keys(key, len(batch["image"]))


def each(recipe: Callable) -> Callable:
    """Lift ``(key, image) -> image`` to ``(key, batch) -> batch``; uint8 images become float in [0, 1] first."""

    def augment(key: Key, batch: Batch) -> Batch:
        return batch | {"image": jax.vmap(recipe)(example_keys(key, batch), to_float(batch["image"]))}

    return augment


def chain(*steps: Callable) -> Callable:
    """One after the other, each with a key of its own: operations ``(key, image) -> image`` or batch functions ``(key, batch) -> batch``.

    Without a key (evaluation) the steps get none.
    """

    def chained(key: Key | None, value):
        for index, step in enumerate(steps):
            value = step(None if key is None else jax.random.fold_in(key, index), value)
        return value

    return chained

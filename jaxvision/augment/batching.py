"""From one image to a batch and from one operation to a recipe: which key each example and each step draws with."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxvision import axis
from jaxvision.typing import Array, Batch, Key, to_float

Augmentation = Callable[[Any, Array], Array]  # (key, image [H, W, C]) -> image; the key may be None in a recipe for evaluation
BatchAugmentation = Callable[[Any, Batch], Batch]  # (key, batch) -> batch


def check_image(image: Array) -> None:
    """Raise ValueError unless ``image`` is one float image [H, W, C]."""
    if image.ndim != 3 or not jnp.issubdtype(image.dtype, jnp.floating):
        found = f"shape {image.shape} of {image.dtype}"
        raise ValueError(f"image: found {found}, expected one float image [H, W, C]; jv.augment.each(operation) maps it over a batch")


def check_key(key: Key | None) -> None:
    """Raise ValueError if a random operation gets no key, as in a recipe for evaluation."""
    if key is None:
        raise ValueError("key: found None, expected a PRNG key: this operation is random, and a recipe for evaluation must not be")


def example_keys(key: Key, batch: Batch) -> Array:
    """One PRNG key for each example of a batch, [B].

    The key is ``fold_in(fold_in(key, epoch), index)``, where ``epoch`` and ``index`` (the position in the data set) come from the batch. An
    example's augmentation therefore depends neither on the other examples of the batch nor on the device. If the batch lacks one of the two
    fields, the key is ``fold_in(key, position in the global batch)``.

    Raises ValueError if ``key`` is None.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> batch = {"image": jnp.zeros((2, 8, 8, 3)), "index": jnp.array([7, 3]), "epoch": jnp.array([0, 0])}
    >>> jv.augment.example_keys(jax.random.key(0), batch).shape
    (2,)
    """
    check_key(key)
    fold = jax.vmap(jax.random.fold_in)
    if "index" in batch and "epoch" in batch:
        return fold(jax.vmap(jax.random.fold_in, (None, 0))(key, batch["epoch"]), batch["index"])
    return axis.example_keys(key, len(batch["image"]))


def each(recipe: Augmentation) -> BatchAugmentation:
    """Lift ``(key, image) -> image`` to ``(key, batch) -> batch``.

    ``batch["image"]`` [B, H, W, C] becomes float in [0, 1] if it is uint8. Each example draws with its own key, see ``example_keys``.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> augment = jv.augment.each(jv.augment.random_crop(6))
    >>> batch = {"image": jnp.zeros((2, 8, 8, 3), jnp.uint8)}
    >>> jax.eval_shape(augment, jax.random.key(0), batch)["image"].shape
    (2, 6, 6, 3)
    """

    def augment(key: Key, batch: Batch) -> Batch:
        return batch | {"image": jax.vmap(recipe)(example_keys(key, batch), to_float(batch["image"]))}

    return augment


def chain(*steps: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Apply several steps in order. Step i draws with ``fold_in(key, i)``.

    ``steps``: either operations ``(key, image) -> image`` or batch functions ``(key, batch) -> batch``; the result is of the same kind. If
    the key is None, as in evaluation, every step gets None.

    >>> import jax.numpy as jnp
    >>> import jaxvision as jv
    >>> recipe = jv.augment.chain(jv.augment.center_crop(4), jv.augment.normalize(0.5, 0.5))
    >>> image = recipe(None, jnp.ones((8, 8, 3)))
    >>> image.shape, float(image.mean())
    ((4, 4, 3), 1.0)
    """

    def chained(key: Key | None, value):
        for index, step in enumerate(steps):
            value = step(None if key is None else jax.random.fold_in(key, index), value)
        return value

    return chained

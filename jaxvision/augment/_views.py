"""Several views of every image, for methods that compare them, and augmentation of the further streams of a batch."""

import itertools
import zlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxvision.augment.batching import example_keys
from jaxvision.typing import Array, Batch, Key, to_float


def _stacked(recipes: Sequence[Callable], keys: Array, image: Array) -> Array:
    """Each recipe's view of every image, [B, V, h, w, C]; ``keys`` [B, V]. Equal recipes in a row are one program over their keys."""
    parts, first = [], 0
    for recipe, group in itertools.groupby(recipes):
        stop = first + len(list(group))
        parts.append(jax.vmap(jax.vmap(recipe, (0, None)))(keys[:, first:stop], image))  # [B, v, h, w, C]
        first = stop
    shapes = {part.shape[2:] for part in parts}
    if len(shapes) > 1:
        raise ValueError(f"recipes: found views of {' and '.join(map(str, sorted(shapes)))}, expected one shape: smaller ones are crops")
    return jnp.concatenate(parts, axis=1)


def views(*recipes: Callable, crops: Sequence[Callable] = ()) -> Callable:
    """``(key, batch) -> batch`` with ``views`` [B, V, H, W, C], one by each of the ``recipes``, for methods that compare them.

    ``crops``: recipes of smaller, local views, which become ``crops`` [B, L, h, w, C] (multi-crop; Caron et al., 2020). A recipe is
    ``(key, image) -> image`` and may be given several times: every view draws with a key of its own. ``image`` stays what it was, as
    float. Raises ValueError without a recipe, or where views that share an array differ in shape.
    """
    if not recipes:
        raise ValueError("recipes: found none, expected at least one (key, image) -> image, such as views(recipe, recipe)")

    def augment(key: Key, batch: Batch) -> Batch:
        image = to_float(batch["image"])  # [B, H, W, C]
        fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
        keys = fold(example_keys(key, batch), jnp.arange(len(recipes) + len(crops)))  # [B, V + L]
        found = {"image": image, "views": _stacked(recipes, keys[:, : len(recipes)], image)}
        if crops:
            found["crops"] = _stacked(crops, keys[:, len(recipes) :], image)
        return batch | found

    return augment


def on(name: str, augment: Callable) -> Callable:
    """``(key, batch) -> batch`` with ``augment``, a function of that kind, applied to the batch ``name`` inside the batch.

    For the further streams of ``jv.data.together``: ``chain(each(weak), on("unlabelled", views(weak, strong)))``. The key is folded with
    the name. Raises KeyError, with the names that there are, where there is no such stream.
    """

    def inside(key: Key, batch: Batch) -> Batch:
        if name not in batch:
            raise KeyError(
                f"{name}: no such stream in a batch of {', '.join(batch)}; jv.data.together(source, {name}=(other, ratio)) adds it"
            )
        return batch | {name: augment(jax.random.fold_in(key, zlib.crc32(name.encode()) >> 1), batch[name])}

    return inside

"""Several views of each image, for methods that compare views, and augmentation of additional streams in a batch."""

import itertools
import zlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxvision.augment.batching import Augmentation, BatchAugmentation, example_keys
from jaxvision.typing import Array, Batch, Key, to_float


def _stacked(recipes: Sequence[Augmentation], keys: Array, image: Array) -> Array:
    """One view by each recipe of each image, [B, V, h, w, C]; ``keys`` [B, V]. Equal consecutive recipes share one ``vmap`` over keys."""
    parts, first = [], 0
    for recipe, group in itertools.groupby(recipes):
        stop = first + len(list(group))
        parts.append(jax.vmap(jax.vmap(recipe, (0, None)))(keys[:, first:stop], image))  # [B, v, h, w, C]
        first = stop
    shapes = {part.shape[2:] for part in parts}
    if len(shapes) > 1:
        found = " and ".join(map(str, sorted(shapes)))
        raise ValueError(f"recipes: found views of shapes {found}, expected one shape; pass recipes of smaller views as crops=")
    return jnp.concatenate(parts, axis=1)


def views(*recipes: Augmentation, crops: Sequence[Augmentation] = ()) -> BatchAugmentation:
    """Several views of each image: ``(key, batch) -> batch`` with ``views`` [B, V, H, W, C], one by each of the ``recipes``.

    ``crops``: recipes of smaller, local views, which become ``crops`` [B, L, h, w, C] (multi-crop: Caron et al., Unsupervised Learning of
    Visual Features by Contrasting Cluster Assignments, 2020). A recipe is ``(key, image) -> image`` and may be given several times: each
    view draws with its own key, ``fold_in(example key, number of the view)``. ``batch["image"]`` stays, as float in [0, 1].

    Raises ValueError without a recipe, or if views of one array differ in shape.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> crop = jv.augment.random_crop(4)
    >>> batch = {"image": jnp.zeros((3, 8, 8, 1))}
    >>> jax.eval_shape(jv.augment.views(crop, crop), jax.random.key(0), batch)["views"].shape
    (3, 2, 4, 4, 1)
    """
    if not recipes:
        raise ValueError("recipes: found none, expected at least one (key, image) -> image, such as views(recipe, recipe)")

    def augment(key: Key, batch: Batch) -> Batch:
        image = to_float(batch["image"])  # [B, H, W, C]
        fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
        keys = fold(example_keys(key, batch), jnp.arange(len(recipes) + len(crops)))  # [B, V + L]
        fields = {"image": image, "views": _stacked(recipes, keys[:, : len(recipes)], image)}
        if crops:
            fields["crops"] = _stacked(crops, keys[:, len(recipes) :], image)
        return batch | fields

    return augment


def on(name: str, augment: BatchAugmentation) -> BatchAugmentation:
    """Apply a batch augmentation to the stream ``name`` of a batch: ``(key, batch) -> batch``.

    A stream is a batch inside the batch, see ``jv.data.together``. ``augment`` draws with ``fold_in(key, checksum of the name)``.

    Raises KeyError, with the fields that the batch has, if there is no such stream.

    >>> import jax, jax.numpy as jnp
    >>> import jaxvision as jv
    >>> batch = {"image": jnp.zeros((2, 8, 8, 1)), "unlabelled": {"image": jnp.zeros((6, 8, 8, 1))}}
    >>> augment = jv.augment.on("unlabelled", jv.augment.each(jv.augment.random_crop(4)))
    >>> jax.eval_shape(augment, jax.random.key(0), batch)["unlabelled"]["image"].shape
    (6, 4, 4, 1)
    """

    def inside(key: Key, batch: Batch) -> Batch:
        if name not in batch:
            fix = f"jv.data.together(source, {name}=(other, ratio)) adds it"
            raise KeyError(f"name: found no stream {name!r} in a batch of {', '.join(batch)}; {fix}")
        return batch | {name: augment(jax.random.fold_in(key, zlib.crc32(name.encode()) >> 1), batch[name])}

    return inside

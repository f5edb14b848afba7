"""Running a model over arrays or a source, in batches of one shape whose padding never comes back."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import data
from jaxvision.typing import to_float


def outputs(
    forward: Callable,
    source,
    *,
    batch_size: int = 256,
    rows: tuple[int, int] | None = None,
    threads: int = 2,
    breakage: data.Breakage | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """``forward`` over all readable examples of a source, in order: (outputs [N, ...], labels [N]).

    ``forward``: ``batch -> (array [batch_size, ...], batch["valid"])``. Of several processes each reads ``rows`` (first, stop) of every
    batch, and ``forward`` returns both for the rows of all. ``breakage``: of the examples that cannot be read, which have no row.
    """
    collected, valid = [], []
    for batch in data.padded_batches(source, batch_size, rows=rows, threads=threads, breakage=breakage):
        found = forward(batch)
        collected.append(np.asarray(found[0]))
        valid.append(np.asarray(found[1]))
    valid = np.concatenate(valid)
    return np.concatenate(collected)[valid], np.asarray(source.labels)[valid[: len(source)]]


def _unchanged(image):
    return image


def prepared(image, recipe: Callable | None):
    """Images [B, H, W, C], uint8 or float, as a model judges them: float, and through ``recipe`` one by one where there is one."""
    image = to_float(jnp.asarray(image))
    return jax.vmap(lambda one: recipe(None, one))(image) if recipe else image


@partial(jax.jit, static_argnames=("model", "recipe"))
def _pooled(model, variables, image, recipe):
    return model.apply(variables, prepared(image, recipe), method="features").pooled.astype(jnp.float32)


@partial(jax.jit, static_argnames=("model", "recipe", "transforms"))
def _probabilities(model, variables, image, recipe, transforms):
    image = prepared(image, recipe)
    views = [model.apply(variables, jax.vmap(transform)(image)) for transform in transforms]
    return jnp.mean(jnp.stack([jax.nn.softmax(logits.astype(jnp.float32)) for logits in views]), axis=0)


def features(model, variables, source, *, recipe: Callable | None = None, batch_size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """An encoder's pooled features of every example: ([N, D] float32, labels [N]).

    ``recipe``: ``(key, image) -> image`` for evaluation; it gets no key.
    """
    return outputs(lambda batch: (_pooled(model, variables, batch["image"], recipe), batch["valid"]), source, batch_size=batch_size)


def predict(
    model, variables, images, *, recipe: Callable | None = None, transforms: tuple[Callable, ...] = (), batch_size: int = 256
) -> np.ndarray:
    """Class probabilities [N, K] float32 of images [N, H, W, C], uint8 or float in [0, 1].

    ``recipe``: ``(key, image) -> image``; it gets no key. ``transforms``: test-time augmentation, functions ``image -> image`` of one
    prepared image (``lambda image: image`` among them to keep it as it is); their probabilities are averaged.
    Raises ValueError where ``images`` is not a batch of images.
    """
    images = np.asarray(images)
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images: found shape {images.shape}, expected [N, H, W, C] with N of at least 1")
    transforms = tuple(transforms) or (_unchanged,)
    batch_size = min(batch_size, len(images))
    found = []
    for first in range(0, len(images), batch_size):
        batch = images[first : first + batch_size]
        padding = [(0, batch_size - len(batch)), (0, 0), (0, 0), (0, 0)]
        found.append(np.asarray(_probabilities(model, variables, np.pad(batch, padding), recipe, transforms))[: len(batch)])
    return np.concatenate(found)

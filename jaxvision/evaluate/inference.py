"""Running a model over a source or over arrays, in batches of one shape whose padding is removed."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxvision import data
from jaxvision.typing import Array, Batch, to_float


def collect(batches: Iterable[tuple[Any, Batch]], *, field: str = "label") -> tuple[Any, np.ndarray]:
    """(outputs, field) of all batches that ``infer`` yields, each as whole arrays [N, ...]: for metrics that need every row (k-NN).

    Raises ValueError where there is no batch.

    >>> import numpy as np, jaxvision as jv
    >>> batches = [(np.zeros((2, 3)), {"label": np.array([4, 5])}), (np.ones((1, 3)), {"label": np.array([6])})]
    >>> outputs, labels = jv.evaluate.collect(batches)
    >>> outputs.shape, labels.tolist()
    ((3, 3), [4, 5, 6])
    """
    found = [(outputs, batch[field]) for outputs, batch in batches]
    if not found:
        raise ValueError("batches: found none, expected at least one")
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def outputs(
    forward: Callable,
    source: Any,
    *,
    batch_size: int = 256,
    rows: tuple[int, int] | None = None,
    threads: int = 2,
    breakage: data.Breakage | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """``forward`` over all readable examples of a source, in order: (outputs [N, ...], labels [N]).

    ``forward``: ``batch -> (array [batch_size, ...], batch["valid"])``. With several processes each reads ``rows`` (first, stop) of every
    batch, and ``forward`` returns both for the rows of all. ``breakage`` counts the examples that cannot be read; they have no row.

    >>> import jaxvision as jv
    >>> means, labels = jv.evaluate.outputs(lambda batch: (batch["image"].mean((1, 2)), batch["valid"]), jv.data.synthetic(5))
    >>> means.shape, labels.shape
    ((5, 3), (5,))
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


def prepared(image: Array, recipe: Callable | None) -> Array:
    """Images [B, H, W, C], uint8 or float, as a model takes them in evaluation: float, and after ``recipe``, one by one, if there is one.

    >>> import numpy as np, jaxvision as jv
    >>> float(jv.evaluate.prepared(np.full((1, 2, 2, 3), 255, np.uint8), lambda key, image: image / 2).max())
    0.5
    """
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


def features(
    model: nn.Module, variables: dict, source: Any, *, recipe: Callable | None = None, batch_size: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """An encoder's pooled features of every example: ([N, D] float32, labels [N]).

    ``recipe``: ``(key, image) -> image`` for evaluation; its key is None.

    >>> import jax, jaxvision as jv  # slow
    >>> encoder = jv.create_model("lenet5", num_classes=0, in_channels=3)
    >>> variables = encoder.init(jax.random.key(0), jax.numpy.zeros((1, 32, 32, 3)))
    >>> found, labels = jv.evaluate.features(encoder, variables, jv.data.synthetic(5))
    >>> found.shape, labels.shape
    ((5, 84), (5,))
    """
    return outputs(lambda batch: (_pooled(model, variables, batch["image"], recipe), batch["valid"]), source, batch_size=batch_size)


def predict(
    model: nn.Module,
    variables: dict,
    images: np.ndarray | Array,
    *,
    recipe: Callable | None = None,
    transforms: tuple[Callable, ...] = (),
    batch_size: int = 256,
) -> np.ndarray:
    """Class probabilities [N, K] float32 of images [N, H, W, C], uint8 or float in [0, 1].

    ``recipe``: ``(key, image) -> image``; its key is None. ``transforms``: test-time augmentation, functions ``image -> image`` of one
    prepared image; their probabilities are averaged (include ``lambda image: image`` to count the image as it is).
    Raises ValueError where ``images`` is not a batch of images.

    >>> import jax, numpy as np, jaxvision as jv  # slow
    >>> model, images = jv.create_model("lenet5", num_classes=10), np.zeros((3, 32, 32, 1), np.uint8)
    >>> variables = model.init(jax.random.key(0), jax.numpy.zeros((1, 32, 32, 1)))
    >>> jv.evaluate.predict(model, variables, images).shape
    (3, 10)
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

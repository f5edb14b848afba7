"""Types of the signatures (arrays, keys, batches, features, the letters of a shape), conversions of arrays, the form of variables.

Shape alphabet: B batch, V views, H height, W width, C channels, N tokens (patches), D features, K classes or prototypes.
An annotation such as ``Float[Array, "B K"]`` reads: a floating-point array of batch by classes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvision._public import set_public_names

try:
    from jaxtyping import Bool, Float, Int, Shaped
except ModuleNotFoundError:  # optional: models, objectives and training need jax, flax, optax, chex, orbax and numpy

    class Shaped:
        """A stand-in for jaxtyping's annotations, which only says that this is an array."""

        def __class_getitem__(cls, kind_and_shape: tuple):
            return kind_and_shape[0]

    Bool = Float = Int = Shaped

Array = jax.Array
Key = jax.Array  # a typed PRNG key, jax.random.key(seed)
Batch = dict  # {"image": [B, H, W, C], "label": [B] or [B, K], "index": [B], "epoch": [B], ...}

__all__ = ["Array", "Batch", "Bool", "Features", "Float", "Int", "Key", "Shaped", "at_least_float32", "drop_head", "to_float"]
set_public_names(__name__, __all__)


class Features(NamedTuple):
    """What ``model.features`` returns: a vector an image, tokens in row order (transformers), maps by name (convolutional stages).

    >>> import jax, jaxvision as jv
    >>> model, image = jv.create_model("lenet5", num_classes=10), jax.numpy.zeros((2, 32, 32, 1))
    >>> features, _ = jax.eval_shape(lambda key: model.init_with_output(key, image, method="features"), jax.random.key(0))
    >>> features.pooled.shape, list(features.maps)
    ((2, 84), ['stride1', 'stride2'])
    """

    pooled: Array  # [B, D]
    tokens: Array | None  # [B, N, D]
    maps: dict[str, Array]  # {name: [B, h, w, c]}


def at_least_float32(array: Array) -> Array:
    """bfloat16, float16 and integers as float32; float32 and float64 unchanged. Sums, norms and losses are computed in this type.

    >>> import jax.numpy as jnp
    >>> from jaxvision.typing import at_least_float32
    >>> at_least_float32(jnp.ones(2, jnp.bfloat16)).dtype
    dtype('float32')
    """
    array = jnp.asarray(array)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def to_float(image: Array) -> Array:
    """uint8 pixels as float32 in [0, 1]; floating-point images unchanged. Raises TypeError for other types.

    >>> import numpy as np
    >>> from jaxvision.typing import to_float
    >>> to_float(np.array([0, 255], np.uint8)).tolist()
    [0.0, 1.0]
    """
    if jnp.issubdtype(image.dtype, jnp.floating):
        return image
    if image.dtype != jnp.uint8:
        raise TypeError(f"image: found dtype {image.dtype}, expected uint8 in 0..255 or a float in [0, 1]")
    return image.astype(jnp.float32) / 255


def drop_head(variables: dict) -> dict:
    """``variables`` without the classifier: a copy whose ``params`` have no ``head``, for the model with ``num_classes=0``.

    >>> import jaxvision as jv
    >>> jv.models.drop_head({"params": {"stem": {}, "head": {"bias": 0.0}}})
    {'params': {'stem': {}}}
    """
    return variables | {"params": {name: tree for name, tree in variables["params"].items() if name != "head"}}

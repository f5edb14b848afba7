"""Look inside a transformer: the tokens after every block, and the attention of the class token."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision.typing import Array


def _recorded(model: nn.Module, variables: dict, image: Array, collection: str) -> dict:
    """What the blocks of ``model`` record in ``collection`` while they compute the features of ``image``."""
    _, recorded = model.apply(variables, image, method="features", mutable=[collection])
    if not recorded:
        raise ValueError(f"model: {type(model).__name__} records no {collection}, expected a transformer")
    return recorded[collection]


def intermediate_tokens(model: nn.Module, variables: dict, image: Array) -> dict[str, Array]:
    """{"block1": tokens, ...} after every block of a transformer or mixer, before the last norm, for images [B, H, W, C].

    ViT: [B, P + N, D], the P class, distillation and register tokens first. Mixer: [B, N, D]. Swin: {"stage1/block1": [B, h, w, D], ...}.
    Raises ValueError for a network without tokens.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> model = jv.create_model("vit_tiny_patch16_224", image_size=32).clone(depth=2)
    >>> image = jax.numpy.ones((1, 32, 32, 3))
    >>> tokens = jv.models.intermediate_tokens(model, model.init(jax.random.key(0), image), image)
    >>> {name: array.shape for name, array in tokens.items()}
    {'block1': (1, 5, 192), 'block2': (1, 5, 192)}
    """
    leaves = jax.tree_util.tree_leaves_with_path(_recorded(model, variables, image, "tokens"))
    tokens = {"/".join(key.key for key in path[:-1]): leaf for path, leaf in leaves}
    return dict(sorted(tokens.items(), key=lambda item: [int("".join(filter(str.isdigit, part))) for part in item[0].split("/")]))


def class_attention(model: nn.Module, variables: dict, image: Array) -> Array:
    """Attention of a ViT's class token to each patch, in each block: [B, L, heads, h, w] for images [B, H, W, C].

    These weights and those of the tokens that are not patches (class, distillation, registers) sum to 1 for each head. Raises ValueError
    for a network without a class token.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> model = jv.create_model("vit_tiny_patch16_224", image_size=32).clone(depth=2)
    >>> image = jax.numpy.ones((1, 32, 32, 3))
    >>> jv.models.class_attention(model, model.init(jax.random.key(0), image), image).shape
    (1, 2, 3, 2, 2)
    """
    if not hasattr(model, "form"):
        raise ValueError(f"model: {type(model).__name__} has no class token, expected a ViT")
    recorded = _recorded(model, variables, image, "attention")
    blocks = [recorded[f"block{index + 1}"]["attention"]["weights"] for index in range(model.depth)]
    weights = jnp.stack(blocks, axis=1)  # [B, L, heads, n, n]
    rows, columns = (side // model.patch_size for side in image.shape[1:3])
    patches = weights[:, :, :, 0, weights.shape[-1] - rows * columns :]
    return patches.reshape(*patches.shape[:3], rows, columns)  # [B, L, heads, h, w]

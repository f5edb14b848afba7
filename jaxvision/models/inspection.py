"""What goes on inside a network, on request: the tokens behind every block, and what the class token looks at."""

import jax
import jax.numpy as jnp

from jaxvision.typing import Array


def _seen(model, variables: dict, image: Array, collection: str) -> dict:
    """What the blocks of ``model`` show in ``collection`` while they compute the features of images."""
    _, seen = model.apply(variables, image, method="features", mutable=[collection])
    if not seen:
        raise ValueError(f"model: {type(model).__name__} shows no {collection}; transformers do")
    return seen[collection]


def intermediate_tokens(model, variables: dict, image: Array) -> dict[str, Array]:
    """{"block1": tokens, ...} behind every block of a transformer or mixer, before the last norm, for images [B, H, W, C].

    ViT: [B, P + N, D], the class token and its like first. Mixer: [B, N, D]. Swin: {"stage1/block1": [B, h, w, D], ...}. Raises ValueError
    for a network without tokens.
    """
    leaves = jax.tree_util.tree_leaves_with_path(_seen(model, variables, image, "tokens"))
    found = {"/".join(key.key for key in path[:-1]): leaf for path, leaf in leaves}
    return dict(sorted(found.items(), key=lambda item: [int("".join(filter(str.isdigit, part))) for part in item[0].split("/")]))


def class_attention(model, variables: dict, image: Array) -> Array:
    """What share of its attention a ViT's class token gives each patch: [B, L, heads, h, w], block by block, for images [B, H, W, C].

    The shares of a head and those of the tokens that are no patch (class, distillation, registers) sum to 1. Raises ValueError for a
    network without a class token.
    """
    if not hasattr(model, "form"):
        raise ValueError(f"model: {type(model).__name__} has no class token, expected a ViT")
    seen = _seen(model, variables, image, "attention")
    weights = jnp.stack([seen[f"block{index + 1}"]["attention"]["weights"] for index in range(model.depth)], axis=1)  # [B, L, heads, n, n]
    rows, columns = (side // model.patch_size for side in image.shape[1:3])
    patches = weights[:, :, :, 0, weights.shape[-1] - rows * columns :]
    return patches.reshape(*patches.shape[:3], rows, columns)  # [B, L, heads, h, w]

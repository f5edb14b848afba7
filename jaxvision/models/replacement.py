"""Another classifier on a trained network."""

import jax

from jaxvision.models.creation import check_common
from jaxvision.typing import Array, Key


def _leaves(variables: dict) -> dict[tuple[str, ...], Array]:
    return {tuple(key.key for key in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}


def replace_classifier(model, variables: dict, num_classes: int, *, key: Key, image: Array) -> tuple:
    """(model, variables) with a fresh classifier for ``num_classes`` (0: without any) and everything else as it was.

    ``image`` [B, H, W, C]: any images that the model takes. The classifier is every ``head``, also that of an auxiliary classifier; an
    encoder's auxiliary classifiers are fresh altogether. A whole ``init`` of the model is compiled to draw it. Raises ValueError where
    ``variables`` are not the model's, or for another number.
    """
    check_common({"num_classes": num_classes})
    model = model.clone(num_classes=num_classes)
    shapes, known = jax.eval_shape(model.init, key, image), _leaves(variables)

    def made(path: tuple[str, ...]) -> bool:
        return "head" in path or path[1].startswith("auxiliary") and path not in known

    for path, leaf in _leaves(shapes).items():
        if not made(path) and getattr(known.get(path), "shape", None) != leaf.shape:
            found = f"shape {known[path].shape}" if path in known else "nothing"
            raise ValueError(f"variables: {'/'.join(path)} has {found}, this model expects shape {leaf.shape}")
    heads = jax.jit(lambda key: {path: leaf for path, leaf in _leaves(model.init(key, image)).items() if made(path)})(key)
    return model, jax.tree_util.tree_map_with_path(
        lambda keys, _: heads[path] if made(path := tuple(key.key for key in keys)) else known[path], shapes
    )

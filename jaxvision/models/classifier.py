"""Replace the classifier of a trained network."""

import jax
from flax import linen as nn

from jaxvision.models.creation import check_common
from jaxvision.typing import Array, Key


def _leaves_by_path(variables: dict) -> dict[tuple[str, ...], Array]:
    return {tuple(key.key for key in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}


def replace_classifier(model: nn.Module, variables: dict, num_classes: int, *, key: Key, image: Array) -> tuple[nn.Module, dict]:
    """(model, variables) with a newly initialized classifier for ``num_classes`` (0: none); all other parameters stay the same.

    ``image`` [B, H, W, C] is any batch that the model takes. Every ``head`` is replaced, also those of auxiliary classifiers; an encoder's
    auxiliary classifiers are initialized as a whole. The function compiles ``model.init`` once. Raises ValueError if ``variables`` do not
    fit the model, or for an invalid ``num_classes``.

    >>> import jaxvision as jv  # slow
    >>> import jax
    >>> model, image = jv.create_model("lenet5"), jax.numpy.ones((1, 32, 32, 1))
    >>> variables = model.init(jax.random.key(0), image)
    >>> model, variables = jv.models.replace_classifier(model, variables, 3, key=jax.random.key(1), image=image)
    >>> model.apply(variables, image).shape
    (1, 3)
    """
    check_common({"num_classes": num_classes})
    model = model.clone(num_classes=num_classes)
    shapes, known = jax.eval_shape(model.init, key, image), _leaves_by_path(variables)

    def is_new(path: tuple[str, ...]) -> bool:
        return "head" in path or path[1].startswith("auxiliary") and path not in known

    for path, leaf in _leaves_by_path(shapes).items():
        if not is_new(path) and getattr(known.get(path), "shape", None) != leaf.shape:
            found = f"shape {known[path].shape}" if path in known else "nothing"
            raise ValueError(f"variables: found {found} for {'/'.join(path)}, this model expects shape {leaf.shape}")
    initialize = jax.jit(lambda key: {path: leaf for path, leaf in _leaves_by_path(model.init(key, image)).items() if is_new(path)})
    heads = initialize(key)
    return model, jax.tree_util.tree_map_with_path(
        lambda keys, _: heads[path] if is_new(path := tuple(key.key for key in keys)) else known[path], shapes
    )

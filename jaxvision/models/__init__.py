"""Networks, one family a file. ``create_model`` and ``list_models`` know every name without importing a family, or jax."""

import importlib
from typing import TYPE_CHECKING

from jaxvision.models.creation import create_model, list_models

if TYPE_CHECKING:
    from jaxvision.models.classifier import drop_head, replace_classifier
    from jaxvision.models.inspection import class_attention, intermediate_tokens

_LAZY = {  # name: the file that defines it, imported on first use because it needs jax
    "class_attention": "inspection",
    "drop_head": "classifier",
    "intermediate_tokens": "inspection",
    "replace_classifier": "classifier",
}
__all__ = [
    # create
    "create_model",
    "list_models",
    # change
    "drop_head",
    "replace_classifier",
    # look inside
    "class_attention",
    "intermediate_tokens",
]


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(importlib.import_module(f"jaxvision.models.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'jaxvision.models' has no attribute {name!r}; it has {', '.join(__all__)}")

"""Networks, one family a file. Names are known without importing a family, or jax."""

import importlib

from jaxvision.models.creation import create_model, list_models

_LATER = {  # what needs jax
    "class_attention": "inspection",
    "intermediate_tokens": "inspection",
    "replace_classifier": "replacement",
}
__all__ = [
    "class_attention",
    "create_model",
    "intermediate_tokens",
    "list_models",
    "replace_classifier",
]


def __getattr__(name: str):
    if name in _LATER:
        return getattr(importlib.import_module(f"jaxvision.models.{_LATER[name]}"), name)
    raise AttributeError(f"module 'jaxvision.models' has no attribute {name!r}; it has {', '.join(__all__)}")

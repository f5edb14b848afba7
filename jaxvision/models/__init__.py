"""Networks, one family a file. ``create_model`` and ``list_models`` know every name without importing a family, or jax."""

from typing import TYPE_CHECKING

from jaxvision._public import set_public_names
from jaxvision.models.creation import create_model, list_models

if TYPE_CHECKING:
    from jaxvision.models.classifier import replace_classifier
    from jaxvision.models.inspection import class_attention, intermediate_tokens
    from jaxvision.typing import drop_head

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
_DEFINED_IN = {  # name: the module that defines it, imported at first use because it imports jax
    "class_attention": "jaxvision.models.inspection",
    "drop_head": "jaxvision.typing",
    "intermediate_tokens": "jaxvision.models.inspection",
    "replace_classifier": "jaxvision.models.classifier",
}
set_public_names(__name__, __all__, lazy=_DEFINED_IN)

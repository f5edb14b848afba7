"""Networks, one family a file. Names are known without importing a family, or jax."""

from typing import TYPE_CHECKING

from jaxvision._public import set_public_names
from jaxvision.models.creation import create_model, list_models

if TYPE_CHECKING:
    from jaxvision.models.inspection import class_attention, intermediate_tokens
    from jaxvision.models.replacement import replace_classifier

__all__ = [
    # by name
    "create_model",
    "list_models",
    # trained networks: what they attend to, another classifier
    "class_attention",
    "intermediate_tokens",
    "replace_classifier",
]
_DEFINED_IN = {  # the modules that import jax
    "class_attention": "jaxvision.models.inspection",
    "intermediate_tokens": "jaxvision.models.inspection",
    "replace_classifier": "jaxvision.models.replacement",
}
set_public_names(__name__, __all__, lazy=_DEFINED_IN)

"""Networks, one family a file. Names are known without importing a family, or jax."""

from jaxvision.models.creation import create_model, list_models

__all__ = ["create_model", "list_models"]

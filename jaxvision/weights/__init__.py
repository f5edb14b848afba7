"""PyTorch's weights in and out, without torch."""

from jaxvision._public import set_public_names
from jaxvision.weights.errors import BrokenFile
from jaxvision.weights.files import load, read, write
from jaxvision.weights.method_heads import method_from_torch
from jaxvision.weights.torch_names import from_torch, to_torch

__all__ = ["BrokenFile", "from_torch", "load", "method_from_torch", "read", "to_torch", "write"]
set_public_names(__name__, __all__)

"""Read and write the weights of PyTorch libraries, without torch."""

from jaxvision._public import set_public_names
from jaxvision.weights.errors import BrokenFile
from jaxvision.weights.files import load, read, write
from jaxvision.weights.method_heads import method_from_torch
from jaxvision.weights.torch_names import from_torch, to_torch

__all__ = [
    # files
    "BrokenFile",
    "load",
    "read",
    "write",
    # names and shapes
    "from_torch",
    "method_from_torch",
    "to_torch",
]
set_public_names(__name__, __all__)

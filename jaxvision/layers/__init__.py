"""Building blocks that two or more models use; parameters are float32, ``dtype`` chooses what is computed in."""

from jaxvision.layers import initializers
from jaxvision.layers.activation import dead_units, leaky_relu
from jaxvision.layers.attention import SelfAttention
from jaxvision.layers.door import check_input
from jaxvision.layers.drop import Dropout, DropPath
from jaxvision.layers.linear import Conv, Dense
from jaxvision.layers.mlp import MLP
from jaxvision.layers.norm import BatchNorm, LayerNorm
from jaxvision.layers.position import resize_position

__all__ = [
    "MLP",
    "BatchNorm",
    "Conv",
    "Dense",
    "DropPath",
    "Dropout",
    "LayerNorm",
    "SelfAttention",
    "check_input",
    "dead_units",
    "initializers",
    "leaky_relu",
    "resize_position",
]

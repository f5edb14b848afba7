"""Building blocks that two or more models use; parameters are float32, ``dtype`` chooses what is computed in."""

from jaxvision.layers import initializers
from jaxvision.layers.activation import dead_units, leaky_relu
from jaxvision.layers.attention import HIDDEN, CrossAttention, SelfAttention
from jaxvision.layers.branching import Branches, Chain
from jaxvision.layers.checks import check_input, check_patches
from jaxvision.layers.conv_norm import ConvNorm, SeparableConv
from jaxvision.layers.convnext_block import ConvNextBlock, only_visible
from jaxvision.layers.drop import Dropout, DropPath, drop_path_rates
from jaxvision.layers.global_response_norm import GlobalResponseNorm
from jaxvision.layers.head import Head
from jaxvision.layers.heads import Expander, Projector, PrototypeHead, Solver
from jaxvision.layers.inverted_residual import InvertedResidual
from jaxvision.layers.layer_scale import LayerScale
from jaxvision.layers.linear import Conv, Dense, standardize
from jaxvision.layers.locally_connected import LocallyConnected
from jaxvision.layers.mlp import MLP, SwiGLU
from jaxvision.layers.norm import BatchNorm, GroupNorm, LayerNorm
from jaxvision.layers.patch import PatchStem
from jaxvision.layers.pooling import average_pool, global_mean, grid_pool, max_pool
from jaxvision.layers.position import LearnedPosition, blocked_grid_position, grid_position, resize_position, sinusoidal_position
from jaxvision.layers.response_norm import local_response_norm
from jaxvision.layers.scan import repeated
from jaxvision.layers.shortcut import joined
from jaxvision.layers.sow import show
from jaxvision.layers.squeeze_excite import SqueezeExcite
from jaxvision.layers.tokens import END, PADDING, START, check_tokens, end_after, shift_right
from jaxvision.layers.transformer_block import TransformerBlock
from jaxvision.layers.window_attention import WindowAttention

__all__ = [
    "BatchNorm",
    "Branches",
    "Chain",
    "Conv",
    "ConvNextBlock",
    "ConvNorm",
    "CrossAttention",
    "Dense",
    "DropPath",
    "Dropout",
    "END",
    "Expander",
    "GlobalResponseNorm",
    "GroupNorm",
    "HIDDEN",
    "Head",
    "InvertedResidual",
    "LayerNorm",
    "LayerScale",
    "LearnedPosition",
    "LocallyConnected",
    "MLP",
    "PADDING",
    "START",
    "PatchStem",
    "Projector",
    "PrototypeHead",
    "SelfAttention",
    "SeparableConv",
    "Solver",
    "SqueezeExcite",
    "SwiGLU",
    "TransformerBlock",
    "WindowAttention",
    "average_pool",
    "blocked_grid_position",
    "check_input",
    "check_patches",
    "check_tokens",
    "dead_units",
    "drop_path_rates",
    "end_after",
    "global_mean",
    "grid_pool",
    "grid_position",
    "initializers",
    "joined",
    "leaky_relu",
    "local_response_norm",
    "max_pool",
    "only_visible",
    "repeated",
    "resize_position",
    "shift_right",
    "show",
    "sinusoidal_position",
    "standardize",
]

"""Building blocks of networks. Parameters are float32; ``dtype`` chooses the type of the computation."""

from jaxvision._public import set_public_names
from jaxvision.layers import initializers
from jaxvision.layers.activation import dead_units, leaky_relu
from jaxvision.layers.attention import MASK_VALUE, CrossAttention, SelfAttention
from jaxvision.layers.checks import check_input, check_patches
from jaxvision.layers.conv_norm import ConvNorm, SeparableConv
from jaxvision.layers.convnext_block import ConvNextBlock, mask_hidden
from jaxvision.layers.drop import Dropout, DropPath, drop_path_rates
from jaxvision.layers.heads import Expander, Head, Projector, PrototypeHead, Solver
from jaxvision.layers.inverted_residual import InvertedResidual
from jaxvision.layers.linear import Conv, Dense, standardize
from jaxvision.layers.linen import scan_blocks, sow
from jaxvision.layers.locally_connected import LocallyConnected
from jaxvision.layers.mlp import MLP, SwiGLU
from jaxvision.layers.norm import BatchNorm, GlobalResponseNorm, GroupNorm, LayerNorm, local_response_norm
from jaxvision.layers.patch import PatchStem
from jaxvision.layers.pooling import average_pool, global_mean, grid_pool, max_pool
from jaxvision.layers.position import LearnedPosition, blocked_grid_position, grid_position, resize_position, sinusoidal_position
from jaxvision.layers.residual import LayerScale, residual_output
from jaxvision.layers.squeeze_excite import SqueezeExcite
from jaxvision.layers.tokens import END, PADDING, START, check_tokens, pad_after_end, shift_right
from jaxvision.layers.transformer_block import TransformerBlock
from jaxvision.layers.window_attention import WindowAttention

__all__ = [
    # linear layers
    "Conv",
    "Dense",
    "LocallyConnected",
    "SeparableConv",
    "initializers",
    "standardize",
    # normalization and activation
    "BatchNorm",
    "GlobalResponseNorm",
    "GroupNorm",
    "LayerNorm",
    "LayerScale",
    "dead_units",
    "leaky_relu",
    "local_response_norm",
    # pooling
    "average_pool",
    "global_mean",
    "grid_pool",
    "max_pool",
    # dropout
    "DropPath",
    "Dropout",
    "drop_path_rates",
    # attention, tokens and positions
    "CrossAttention",
    "END",
    "LearnedPosition",
    "MASK_VALUE",
    "PADDING",
    "START",
    "SelfAttention",
    "WindowAttention",
    "blocked_grid_position",
    "check_tokens",
    "grid_position",
    "pad_after_end",
    "resize_position",
    "shift_right",
    "sinusoidal_position",
    # blocks and stems
    "ConvNextBlock",
    "ConvNorm",
    "InvertedResidual",
    "MLP",
    "PatchStem",
    "SqueezeExcite",
    "SwiGLU",
    "TransformerBlock",
    "mask_hidden",
    "residual_output",
    "scan_blocks",
    "sow",
    # heads
    "Expander",
    "Head",
    "Projector",
    "PrototypeHead",
    "Solver",
    # checks of options and inputs
    "check_input",
    "check_patches",
]
set_public_names(__name__, __all__)

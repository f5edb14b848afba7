"""Where a block's branch has met its shortcut."""

from jax.ad_checkpoint import checkpoint_name

from jaxvision import kernels
from jaxvision.typing import Array


def joined(x: Array) -> Array:
    """What leaves a block, computed once (``kernels.barrier``) and named "shortcut" for those who recompute all else (``remat``)."""
    return checkpoint_name(kernels.barrier(x), "shortcut")

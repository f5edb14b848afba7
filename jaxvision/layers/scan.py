"""Equal blocks in a row as one program, which compiles once whatever the depth."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision.typing import Array


def repeated(blocks: Sequence[nn.Module], x: Array, **options) -> Array:
    """``x`` through each of ``blocks``, which differ in their parameters alone and draw nothing: a scan over the parameters, side by side.

    Their parameters stay where they are in the tree; in the program they are copied once a step.
    """
    block = blocks[0].clone(parent=None, name=None)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(one.variables["params"] for one in blocks))
    return jax.lax.scan(lambda x, params: (block.apply({"params": params}, x, **options), None), x, stacked)[0]

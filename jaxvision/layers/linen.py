"""Two additions to Flax Linen: record an intermediate value only on request, and scan over equal blocks."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision.typing import Array


def sow(module: nn.Module, collection: str, name: str, value: Callable[[], Array]) -> None:
    """Record ``value()`` under ``name`` in ``collection`` if the caller of ``apply`` made that collection mutable.

    Unlike ``module.sow`` it takes a function, which runs only when the value is recorded, and stores the array itself, not a tuple. It
    records nothing during ``init``.

    >>> import jax, jaxvision as jv  # slow
    >>> block = jv.layers.TransformerBlock(heads=2)
    >>> tokens = jax.numpy.ones((1, 3, 4))
    >>> variables = block.init(jax.random.key(0), tokens, train=False)
    >>> _, recorded = block.apply(variables, tokens, train=False, mutable=["tokens"])
    >>> recorded["tokens"]["output"].shape
    (1, 3, 4)
    """
    if module.is_mutable_collection(collection) and not module.is_initializing():
        module.put_variable(collection, name, value())


def scan_blocks(blocks: Sequence[nn.Module], x: Array, **options: Any) -> Array:
    """Apply ``blocks`` one after the other as one ``jax.lax.scan``, which compiles a single block whatever the depth.

    The blocks are bound modules that differ only in their parameters and use no random numbers; ``options`` go to each call. The parameter
    tree is that of separate blocks. Each step copies the parameters once, to stack them.

    >>> import jax, jaxvision as jv  # slow
    >>> dense = [jv.layers.Dense(4) for _ in range(3)]
    >>> x = jax.numpy.ones((2, 4))
    >>> keys = jax.random.split(jax.random.key(0), 3)
    >>> bound = [module.bind(module.init(key, x)) for module, key in zip(dense, keys)]
    >>> jv.layers.scan_blocks(bound, x).shape
    (2, 4)
    """
    block = blocks[0].clone(parent=None, name=None)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(one.variables["params"] for one in blocks))
    return jax.lax.scan(lambda x, params: (block.apply({"params": params}, x, **options), None), x, stacked)[0]

"""What a network saw on its way, handed out where the caller asks for it and not computed otherwise."""

from collections.abc import Callable

from flax import linen as nn

from jaxvision.typing import Array


def show(module: nn.Module, collection: str, name: str, value: Callable[[], Array]) -> None:
    """Put ``value()`` beside the module's place in ``collection`` where a caller of ``apply`` has it in ``mutable``; never in ``init``."""
    if module.is_mutable_collection(collection) and not module.is_initializing():
        module.put_variable(collection, name, value())

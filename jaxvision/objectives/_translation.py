"""Translation: a model learns to write a sequence of tokens from another one, given the right tokens so far (teacher forcing)."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvision import axis, losses
from jaxvision.core import Aux, Carry, Objective, fold_name, unchanged
from jaxvision.objectives import _modules
from jaxvision.typing import Array, Batch, Key


def _read(batch: Batch) -> tuple[Array, Array]:
    for name in ("source", "target"):
        if name not in batch:
            raise ValueError(f"batch: translation reads {name!r}, found {', '.join(sorted(batch))}; take a data source of token pairs")
    return batch["source"], batch["target"]


def translation(model: nn.Module, *, label_smoothing: float = 0.0, padding: int = 0) -> Objective:
    """Sequence to sequence: ``jv.losses.sequence_cross_entropy`` of a model's next tokens.

    Reads ``source`` [B, N] and ``target`` [B, M], integers. ``model``: a Linen module with
    ``model(source, target, *, train) -> logits [B, M, K]``, in which the logits of a position depend only on the tokens before it. Tokens
    ``padding`` do not count; ``label_smoothing`` as in the loss. Module: ``model``. Metric: ``tokens``, the share of positions whose most
    probable token is right.

    Raises ValueError where the batch has no source or target.
    Source: Sutskever et al., "Sequence to Sequence Learning with Neural Networks", 2014.

    >>> import jax, jax.numpy as jnp, jaxvision as jv  # slow
    >>> from jaxvision.models.transformer import Transformer
    >>> objective = jv.objectives.translation(Transformer(8, 8, width=16, heads=2, hidden=16))
    >>> batch = {"source": jnp.ones((2, 5), int), "target": jnp.ones((2, 3), int)}
    >>> params, carry = objective.init(jax.random.key(0), batch)
    >>> sorted(objective.loss(params, carry, batch, key=jax.random.key(1), step=0)[1].metrics)
    ['loss', 'tokens']
    """
    _modules.check_model("model", model)

    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        _modules.check_given("translation", given, "model")
        source, target = _read(batch)
        variables = jax.jit(model.init)(key, source[:1], target[:1])
        return {"model": _modules.reuse("model", variables["params"], given.get("model", {}))}, Carry({}, {})

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        source, target = _read(batch)
        rngs = {"dropout": fold_name(key, "dropout")}
        logits = model.apply({"params": params["model"]}, source, target, train=True, rngs=rngs)
        loss = losses.sequence_cross_entropy(logits, target, label_smoothing=label_smoothing, padding=padding)
        counted = (target != padding).astype(jnp.float32)
        correct = jnp.mean(counted * (jnp.argmax(logits, axis=-1) == target)) / axis.mean(jnp.mean(counted))
        return loss, Aux(carry, {"loss": loss, "tokens": correct})

    return Objective(init, value, unchanged)

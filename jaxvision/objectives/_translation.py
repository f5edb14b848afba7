"""Learning to write: rows of tokens from rows of tokens, taught with the right answer so far (teacher forcing)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxvision import axis, losses
from jaxvision.core import Aux, Carry, Objective, fold_name, reuse, unchanged
from jaxvision.objectives import _modules
from jaxvision.typing import Array, Batch, Key


def _read(batch: Batch) -> tuple[Array, Array]:
    for name in ("source", "target"):
        if name not in batch:
            raise ValueError(f"batch: translation reads {name!r}, found {', '.join(sorted(batch))}; take a data source of token pairs")
    return batch["source"], batch["target"]


def translation(model, *, label_smoothing: float = 0.0, padding: int = 0) -> Objective:
    """A model that writes ``batch["target"]`` [B, M] given ``batch["source"]`` [B, N], integers both.

    ``model``: a Linen module with ``model(source, target, *, train) -> logits [B, M, K]`` that shows itself only the tokens before each
    place; ``padding`` does not count. Parameters are stored as ``model``. Metric: ``tokens``, the share of places whose likeliest token is
    right. Raises ValueError when the batch has no source or target.
    """
    _modules.check_model("model", model)

    def init(key: Key, batch: Batch, given: Mapping = {}) -> tuple[dict, Carry]:
        _modules.check_given("translation", given, "model")
        source, target = _read(batch)
        variables = jax.jit(model.init)(key, source[:1], target[:1])
        return {"model": reuse("model", variables["params"], given.get("model", {}))}, Carry({}, {})

    def value(params: dict, carry: Carry, batch: Batch, *, key: Key, step: Array) -> tuple[Array, Aux]:
        source, target = _read(batch)
        rngs = {"dropout": fold_name(key, "dropout")}
        logits = model.apply({"params": params["model"]}, source, target, train=True, rngs=rngs)
        loss = losses.sequence_cross_entropy(logits, target, label_smoothing=label_smoothing, padding=padding)
        counts = (target != padding).astype(jnp.float32)
        right = jnp.mean(counts * (jnp.argmax(logits, axis=-1) == target)) / axis.mean(jnp.mean(counts))
        return loss, Aux(carry, {"loss": loss, "tokens": right})

    return Objective(init, value, unchanged)

"""An optimizer update, its application, the test for finite values and the weight average; fused into one kernel for Adam and AdamW.

``moved`` updates parameters by any optax transformation. For a ``FusedAdam`` it uses the compiled kernel where there is one and all arrays
are float32, and the chain of optax's transformations elsewhere. The optimizer state is that of the chain in both cases.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxvision import kernels
from jaxvision.typing import Array


class Moved(NamedTuple):
    """The result of an update: parameters, optimizer state, and the average of the parameters ({} where none is kept)."""

    params: dict
    opt_state: tuple
    average: dict


class AdamChain(NamedTuple):
    """The parts of optax's chain for Adam or AdamW."""

    parts: dict[str, optax.GradientTransformation]  # [clip] -> [decay] -> direction0 -> [decay] -> [layers] -> rate
    betas: tuple[float, float]
    epsilon: float
    clip_norm: float | None
    coupled: bool  # decay is part of the gradient
    decay: optax.GradientTransformation  # without its mask
    decay_mask: object
    scales: Callable  # params -> a tree with the factor of each leaf's learning rate


class FusedAdam(optax.GradientTransformationExtraArgs):
    """optax's chain for Adam or AdamW, with its parts, so that ``moved`` can compute it by a kernel."""

    parts_of_chain: AdamChain | None = None

    @classmethod
    def of(cls, chain: AdamChain) -> "FusedAdam":
        """The chain as a transformation."""
        found = cls(*optax.chain(*chain.parts.values()))
        found.parts_of_chain = chain
        return found


def averaged(average: dict, current: dict, decay: Array | float) -> dict:
    """decay average + (1 - decay) current, leaf by leaf."""
    return jax.tree.map(lambda old, new: (decay * old + (1 - decay) * new).astype(old.dtype), average, current)


def where(finite: Array, new, old):
    """A tree's new leaves where the update is finite, else its old ones."""
    return jax.tree.map(lambda new, old: jnp.where(finite, new, old), new, old)


def moved(
    optimizer: optax.GradientTransformation,
    grads: dict,
    opt_state: tuple,
    params: dict,
    *,
    finite: Array,
    average: dict = {},
    decay: Array | float = 0.0,
) -> Moved:
    """Parameters, optimizer state and weight average after an update; all unchanged where ``finite`` (bool []) is false.

    ``grads``, ``params`` and ``average`` are trees of the same structure. The new average is decay average + (1 - decay) params;
    ``average={}`` keeps none.
    """
    chain = getattr(optimizer, "parts_of_chain", None)
    if chain is not None and kernels.adam_is_compiled(*jax.tree.leaves((grads, params, average))):
        return _by_kernel(chain, grads, opt_state, params, finite, average, decay)
    updates, after = optimizer.update(grads, opt_state, params)
    new = optax.apply_updates(params, updates)
    return where(finite, Moved(new, after, averaged(average, new, decay) if average else {}), Moved(params, opt_state, average))


def _by_leaf(mask, params: dict) -> dict:
    """A mask of optax (a function, a tree of bools or its top levels, or None for all leaves) as one bool for each leaf."""
    mask = mask(params) if callable(mask) else True if mask is None else mask
    return jax.tree.map(lambda flag, part: jax.tree.map(lambda _: flag, part), mask, params)


def _advanced(chain: AdamChain, states: dict) -> tuple[dict, dict[str, Any]]:
    """(the next states of the chain's parts without the moments, the scalars of this update)."""
    unit, scalars = jnp.float32(1), dict[str, Any](weight_decay=0.0)
    adam = states["direction0"]._replace(count=optax.safe_increment(states["direction0"].count))
    scalars["first"], scalars["second"] = (1 / (1 - beta**adam.count) for beta in chain.betas)
    negative, rate = chain.parts["rate"].update(unit, states["rate"])
    after, scalars["rate"] = states | {"direction0": adam, "rate": rate}, -negative
    if "decay" in states:
        masked = isinstance(states["decay"], optax.MaskedState)
        scalars["weight_decay"], decay = chain.decay.update(0 * unit, states["decay"].inner_state if masked else states["decay"], unit)
        after["decay"] = optax.MaskedState(decay) if masked else decay
    return after, scalars


def _by_kernel(chain: AdamChain, grads: dict, opt_state: tuple, params: dict, finite: Array, average: dict, decay) -> Moved:
    states = dict(zip(chain.parts, opt_state, strict=True))
    moments = states["direction0"]
    states["direction0"] = moments._replace(mu=(), nu=())
    after, scalars = _advanced(chain, states)
    after = where(finite, after, states)
    clip = 1.0
    if chain.clip_norm is not None:
        norm = optax.tree.norm(grads)
        clip = jnp.where(norm < chain.clip_norm, 1, chain.clip_norm / norm)
    beta1, beta2 = chain.betas
    shared = {"beta1": beta1, "rest1": 1 - beta1, "beta2": beta2, "rest2": 1 - beta2, "epsilon": chain.epsilon, "clip": clip}
    shared |= {"first": scalars["first"], "second": scalars["second"], "decay": decay, "rest": 1 - decay, "finite": finite}

    def move(gradient: Array, decayed: bool, scale: float, *moving: Array) -> kernels.AdamArrays:
        weight_decay = scalars["weight_decay"] if decayed else 0.0
        own = {"coupled": weight_decay, "decoupled": 0.0} if chain.coupled else {"coupled": 0.0, "decoupled": weight_decay}
        return kernels.adam(gradient, kernels.AdamArrays(*moving), kernels.AdamNumbers(**shared, **own, rate=scale * scalars["rate"]))

    given = (grads, _by_leaf(chain.decay_mask, params), chain.scales(params), params, moments.mu, moments.nu)
    arrays = jax.tree.map(move, *given, *([average] if average else []))
    leaves, structure = jax.tree.flatten(arrays, is_leaf=lambda node: isinstance(node, kernels.AdamArrays))
    param, mean, square, kept = (structure.unflatten([leaf[index] for leaf in leaves]) for index in range(4))
    after["direction0"] = after["direction0"]._replace(mu=mean, nu=square)
    return Moved(param, tuple(after[name] for name in chain.parts), kept if average else {})

"""Optimizers, schedules and masks: chains of optax's transformations that keep the learning rate in their state, where a run reads it.

Every optimizer takes a learning rate and a weight decay (each a number or a schedule of the update count) and the same three options:
``decay_mask`` selects the leaves with weight decay, ``clip_norm`` limits the global gradient norm, and ``layer_rate`` decays the learning
rate from layer to layer.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from jaxvision.train import fused
from jaxvision.train.recorded_rate import scale_by_recorded_rate
from jaxvision.train.schedules import Rate
from jaxvision.typing import Array

_NOT_DECAYED = {"bias", "scale", "class_token", "position", "mask_token"}
_DEPTH = re.compile(r"(?:stage|block)(\d+)")
_TOP = re.compile(r"stem|norm|head|(?:stage|block)\d+")


def decay_mask(params: Any) -> Any:
    """A tree of bools: True for leaves with weight decay. Biases, norm scales, other vectors, tokens and position tables have none."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: jnp.ndim(leaf) > 1 and _names(path)[-1] not in _NOT_DECAYED, params)


def _names(path: tuple) -> list[str]:
    return jax.tree_util.keystr(path, simple=True, separator="/").split("/")


def _place_in_model(path: tuple) -> tuple[str, str]:
    """(module, top-level part) of a leaf, such as ("model", "stage2"); two empty strings where no part of the path has such a name."""
    names = _names(path)
    for index, name in enumerate(names[:-1]):
        if _TOP.fullmatch(name):
            return "/".join(names[:index]), name
    return "", ""


def _depth(part: str) -> int | None:
    """0 for the stem, i for stage or block i, None for the parts above them (norm, head)."""
    numbered = _DEPTH.fullmatch(part)
    return int(numbered.group(1)) if numbered else 0 if part == "stem" else None


def _heights(params) -> Callable[[tuple], int | None]:
    """A function from a leaf's path to the number of layers above it: 0 for norm and head, 1 for the last block, None outside a model.

    A module counts as a model when it has a stem, stages or blocks. A projector with a norm does not.
    """
    last: dict[str, int] = {}  # {module: the number of its last stage or block}
    for path, _ in jax.tree_util.tree_leaves_with_path(params):
        module, part = _place_in_model(path)
        if (depth := _depth(part)) is not None:
            last[module] = max(last.get(module, 0), depth)

    def height(path: tuple) -> int | None:
        module, part = _place_in_model(path)
        if not part or module not in last:
            return None
        return 0 if (depth := _depth(part)) is None else last[module] + 1 - depth

    return height


def layer_scales(params: Any, rate: float) -> Any:
    """A tree with the factor of each leaf's learning rate, ``rate ** (layers above the leaf)``.

    The top level of a model's tree is stem, stage1... or block1..., norm, head. Head and norm have the factor 1, the last block ``rate``,
    and the stem the smallest factor (Clark et al., "ELECTRA", 2020; Bao et al., "BEiT", 2021). Leaves outside such a tree have 1.
    """
    height = _heights(params)
    return jax.tree_util.tree_map_with_path(lambda path, leaf: rate ** (height(path) or 0), params)


def scale_by_layer(rate: float) -> optax.GradientTransformation:
    """Layer-wise decay of the learning rate for any model; see ``layer_scales``. Raises ValueError for a rate outside (0, 1]."""
    if not 0 < rate <= 1:
        raise ValueError(f"layer_rate: found {rate}, expected a factor above 0 and at most 1 from each layer to the one below")
    return optax.stateless(lambda updates, params: jax.tree.map(jnp.multiply, updates, layer_scales(updates, rate)))


def freeze(optimizer: optax.GradientTransformation, *, train: Literal["head"] | int) -> optax.GradientTransformation:
    """Train only the head (``train="head"``), or only the last ``train`` stages or blocks and the norm and head above them.

    All other parameters of a model stay bit for bit the same. Parameters outside a model's tree, such as a projector, are trained.
    Running statistics of BatchNorm are not parameters: ``jv.objectives.supervised(model, frozen=True)`` keeps those.
    Raises ValueError for another value of ``train``, and on ``init`` for parameters without a model's tree.

    >>> import jax.numpy as jnp, jaxvision as jv
    >>> params = {"model": {part: {"kernel": jnp.ones(2)} for part in ("stem", "head")}}
    >>> optimizer = jv.train.freeze(jv.train.sgd(0.1), train="head")
    >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
    >>> [round(float(updates["model"][part]["kernel"][0]), 3) for part in ("stem", "head")]
    [0.0, -0.1]
    """
    if train != "head" and (isinstance(train, str) or train < 0):
        raise ValueError(f"train: found {train!r}, expected 'head' or a number of stages or blocks")

    def label(params):
        height = _heights(params)
        if all(height(path) is None for path, _ in jax.tree_util.tree_leaves_with_path(params)):
            raise ValueError(f"params: found {', '.join(map(str, params))}, expected a model with stem, stages or blocks, norm and head")

        def trained(path, leaf) -> str:
            above, part = height(path), _place_in_model(path)[1]
            moves = above is None or (part == "head" if train == "head" else above <= train)
            return "train" if moves else "freeze"

        return jax.tree_util.tree_map_with_path(trained, params)

    return optax.partition({"train": optimizer, "freeze": optax.set_to_zero()}, label)


def _parts(
    direction, learning_rate, *, coupled, after=(), weight_decay=0.0, decay_mask=decay_mask, clip_norm=None, layer_rate=None
) -> dict[str, optax.GradientTransformation]:
    """clip -> [decay as part of the gradient] -> direction -> [decoupled decay] -> layer scales -> rate -> ``after``."""
    decay = {"decay": optax.add_decayed_weights(weight_decay, decay_mask)} if weight_decay else {}
    return {
        **({"clip": optax.clip_by_global_norm(clip_norm)} if clip_norm is not None else {}),
        **(decay if coupled else {}),
        **{f"direction{index}": part for index, part in enumerate(direction)},
        **({} if coupled else decay),
        **({"layers": scale_by_layer(layer_rate)} if layer_rate is not None else {}),
        "rate": scale_by_recorded_rate(learning_rate),
        **{f"after{index}": part for index, part in enumerate(after)},
    }


def _build(direction, learning_rate, **options) -> optax.GradientTransformation:
    return optax.chain(*_parts(direction, learning_rate, **options).values())


def _adam(
    learning_rate, beta1, beta2, epsilon, *, coupled, weight_decay, decay_mask=decay_mask, clip_norm=None, layer_rate=None
) -> fused.FusedAdam:
    both = {"coupled": coupled, "decay_mask": decay_mask, "clip_norm": clip_norm}
    direction = [optax.scale_by_adam(beta1, beta2, epsilon)]
    parts = _parts(direction, learning_rate, weight_decay=weight_decay, layer_rate=layer_rate, **both)
    scales = (lambda params: jax.tree.map(lambda _: 1.0, params)) if layer_rate is None else partial(layer_scales, rate=layer_rate)
    decay = optax.add_decayed_weights(weight_decay)
    return fused.FusedAdam.of(fused.AdamChain(parts, betas=(beta1, beta2), epsilon=epsilon, decay=decay, scales=scales, **both))


def sgd(learning_rate: Rate, *, weight_decay: Rate = 0.0, **options: Any) -> optax.GradientTransformation:
    """Stochastic gradient descent: theta <- theta - rate (g + weight_decay theta), as in PyTorch.

    ``options`` of every optimizer in this file: ``decay_mask``, a tree of bools or a function of the parameters (by default all kernels,
    no biases and norms); ``clip_norm``, the largest global gradient norm; ``layer_rate``, the factor of the learning rate from each layer
    to the one below (by default 1). Raises ValueError for a ``layer_rate`` outside (0, 1].

    >>> import jax.numpy as jnp, jaxvision as jv
    >>> optimizer, params = jv.train.sgd(0.1), {"kernel": jnp.ones((2, 1))}
    >>> updates, state = optimizer.update({"kernel": jnp.full((2, 1), 4.0)}, optimizer.init(params), params)
    >>> [round(float(update), 4) for update in updates["kernel"].ravel()]
    [-0.4, -0.4]
    """
    return _build([], learning_rate, coupled=True, weight_decay=weight_decay, **options)


def momentum(
    learning_rate: Rate, *, beta: float = 0.9, nesterov: bool = False, weight_decay: Rate = 0.0, **options: Any
) -> optax.GradientTransformation:
    """SGD with momentum as in PyTorch, v <- beta v + g and theta <- theta - rate v, or with ``nesterov`` theta - rate (g + beta v).

    Further ``options`` as for ``sgd``.

    >>> import jax.numpy as jnp, jaxvision as jv
    >>> optimizer, params = jv.train.momentum(0.1, nesterov=True), {"kernel": jnp.ones((2, 1))}
    >>> updates, state = optimizer.update({"kernel": jnp.full((2, 1), 4.0)}, optimizer.init(params), params)
    >>> [round(float(update), 4) for update in updates["kernel"].ravel()]
    [-0.76, -0.76]
    """
    return _build([optax.trace(beta, nesterov)], learning_rate, coupled=True, weight_decay=weight_decay, **options)


def adam(
    learning_rate: Rate,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: Rate = 0.0,
    **options: Any,
) -> optax.GradientTransformation:
    """Adam (Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015). Weight decay is part of the gradient, as in PyTorch's Adam.

    m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2, theta <- theta - rate m' / (sqrt(v') + epsilon), where m' and v' are
    corrected for their bias. Further ``options`` as for ``sgd``.

    >>> import jax.numpy as jnp, jaxvision as jv
    >>> optimizer, params = jv.train.adam(0.1), {"kernel": jnp.ones((2, 1))}
    >>> updates, state = optimizer.update({"kernel": jnp.full((2, 1), 4.0)}, optimizer.init(params), params)
    >>> [round(float(update), 4) for update in updates["kernel"].ravel()]
    [-0.1, -0.1]
    """
    return _adam(learning_rate, beta1, beta2, epsilon, coupled=True, weight_decay=weight_decay, **options)


def adamw(
    learning_rate: Rate,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: Rate = 0.01,
    **options: Any,
) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019): ``adam`` with decoupled weight decay.

    The update is that of ``adam`` minus rate * weight_decay * theta. Further ``options`` as for ``sgd``.

    >>> import jax.numpy as jnp, jaxvision as jv
    >>> optimizer, params = jv.train.adamw(0.1, weight_decay=0.5), {"kernel": jnp.ones((2, 1))}
    >>> updates, state = optimizer.update({"kernel": jnp.full((2, 1), 4.0)}, optimizer.init(params), params)
    >>> [round(float(update), 4) for update in updates["kernel"].ravel()]
    [-0.15, -0.15]
    """
    return _adam(learning_rate, beta1, beta2, epsilon, coupled=False, weight_decay=weight_decay, **options)


def lars(
    learning_rate: Rate,
    *,
    beta: float = 0.9,
    trust_coefficient: float = 0.001,
    weight_decay: Rate = 0.0,
    decay_mask: Any = decay_mask,
    **options: Any,
) -> optax.GradientTransformation:
    """LARS (You et al., "Large Batch Training of Convolutional Networks", 2017): each leaf's update in proportion to the leaf's norm.

    Leaves in ``decay_mask`` have weight decay and the trust ratio trust_coefficient |theta| / |g|; the others have neither. Momentum
    accumulates updates already scaled by the learning rate. Further ``options`` as for ``sgd``.

    >>> import jax.numpy as jnp, jaxvision as jv
    >>> optimizer, params = jv.train.lars(0.1), {"kernel": jnp.ones((2, 1))}
    >>> updates, state = optimizer.update({"kernel": jnp.full((2, 1), 4.0)}, optimizer.init(params), params)
    >>> [round(float(update), 4) for update in updates["kernel"].ravel()]
    [-0.0001, -0.0001]
    """
    trust = optax.masked(optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient), decay_mask)
    return _build(
        [trust], learning_rate, coupled=True, after=[optax.trace(beta)], weight_decay=weight_decay, decay_mask=decay_mask, **options
    )


def lamb(
    learning_rate: Rate,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-6,
    weight_decay: Rate = 0.0,
    decay_mask: Any = decay_mask,
    **options: Any,
) -> optax.GradientTransformation:
    """LAMB (You et al., "Large Batch Optimization for Deep Learning", 2020): Adam with a trust ratio.

    The direction of ``adam`` plus weight_decay * theta is scaled, leaf by leaf, to the norm of theta. Further ``options`` as for ``sgd``.

    >>> import jax.numpy as jnp, jaxvision as jv
    >>> optimizer, params = jv.train.lamb(0.1), {"kernel": jnp.ones((2, 1))}
    >>> updates, state = optimizer.update({"kernel": jnp.full((2, 1), 4.0)}, optimizer.init(params), params)
    >>> [round(float(update), 4) for update in updates["kernel"].ravel()]
    [-0.1, -0.1]
    """
    decay = [optax.add_decayed_weights(weight_decay, decay_mask)] if weight_decay else []
    direction = [optax.scale_by_adam(beta1, beta2, epsilon), *decay, optax.scale_by_trust_ratio()]
    return _build(direction, learning_rate, coupled=False, **options)


def _as_matrix(leaf: Array) -> optax.contrib.MuonDimensionNumbers:
    """A kernel [..., D] as a matrix of inputs times outputs."""
    return optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)


def muon(
    learning_rate: Rate,
    *,
    beta: float = 0.95,
    nesterov: bool = True,
    rms: float | None = 0.2,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: Rate = 0.01,
    **options: Any,
) -> optax.GradientTransformation:
    """Muon for kernels (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024), AdamW for all other leaves.

    A kernel is a matrix of inputs times outputs. Five Newton-Schulz steps make its momentum orthogonal. The update is then scaled by
    ``rms`` sqrt(max(inputs, outputs)), which gives it the size of AdamW's, so that learning rates and decay of AdamW can be used (Liu et
    al., "Muon is Scalable for LLM Training", 2025, equation 4). With ``rms=None`` the factor is sqrt(max(1, outputs / inputs)).
    Heads, depthwise filters and leaves that are no kernels use AdamW with ``beta1``, ``beta2`` and ``epsilon``. Further ``options`` as for
    ``sgd``.

    >>> import jax.numpy as jnp, jaxvision as jv
    >>> optimizer, params = jv.train.muon(0.1), {"kernel": jnp.ones((2, 1))}
    >>> updates, state = optimizer.update({"kernel": jnp.full((2, 1), 4.0)}, optimizer.init(params), params)
    >>> [round(float(update), 4) for update in updates["kernel"].ravel()]
    [-0.0149, -0.0149]
    """

    def label(params):
        def kind(path, leaf) -> str:
            kernel = _names(path)[-1] == "kernel" and leaf.shape[-2] > 1 and _place_in_model(path)[1] != "head"
            return "orthogonal" if kernel else "adam"

        return jax.tree_util.tree_map_with_path(kind, params)

    def resized(update: Array) -> Array:
        outputs, inputs = update.shape[-1], update.size // update.shape[-1]
        return update * (max(1, outputs / inputs) ** 0.5 if rms is None else rms * max(inputs, outputs) ** 0.5)

    orthogonal = optax.chain(
        optax.contrib.scale_by_muon(beta=beta, nesterov=nesterov, weight_dimension_numbers=partial(jax.tree.map, _as_matrix)),
        optax.stateless(lambda updates, params: jax.tree.map(resized, updates)),
    )
    direction = optax.partition({"orthogonal": orthogonal, "adam": optax.scale_by_adam(beta1, beta2, epsilon)}, label)
    return _build([direction], learning_rate, coupled=False, weight_decay=weight_decay, **options)

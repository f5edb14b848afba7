"""Optimizers, schedules and masks: optax's own transformations, put together so that a run can say its learning rate.

Every factory takes a learning rate (a number or a schedule of the update count) and the same three options: ``weight_decay`` (either as
well) on the leaves of ``decay_mask``, ``clip_norm`` on the global gradient norm, ``layer_rate`` for layer-wise decay of the learning rate.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from jaxvision.train import fused
from jaxvision.typing import Array

_NOT_DECAYED = {"bias", "scale", "class_token", "position", "mask_token"}
_DEPTH = re.compile(r"(?:stage|block)(\d+)")
_TOP = re.compile(r"stem|norm|head|(?:stage|block)\d+")


class RecordedRate(NamedTuple):
    """The state of ``scale_by_recorded_rate``: updates so far and the rate of the last one."""

    count: Array
    learning_rate: Array


def scale_by_recorded_rate(learning_rate: float | Callable) -> optax.GradientTransformation:
    """Multiply updates by minus the learning rate, and keep the rate in the state, where ``learning_rate_of`` finds it."""

    def rate(count: Array) -> Array:
        return jnp.asarray(learning_rate(count) if callable(learning_rate) else learning_rate, jnp.float32)

    def init(params) -> RecordedRate:
        return RecordedRate(jnp.zeros((), jnp.int32), rate(jnp.zeros((), jnp.int32)))

    def update(updates, state: RecordedRate, params=None):
        now = rate(state.count)
        updates = jax.tree.map(lambda leaf: (-now * leaf).astype(leaf.dtype), updates)
        return updates, RecordedRate(optax.safe_increment(state.count), now)

    return optax.GradientTransformation(init, update)


def learning_rate_of(opt_state) -> Array | None:
    """The learning rate that an optimizer state shows (ours, or ``optax.inject_hyperparams``), or None."""
    found = optax.tree_utils.tree_get_all_with_path(opt_state, "learning_rate")
    return found[0][1] if found else None


def decay_mask(params):
    """True for leaves that weight decay touches: not biases, norm scales and other vectors, not tokens or position tables."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: jnp.ndim(leaf) > 1 and _names(path)[-1] not in _NOT_DECAYED, params)


def _names(path: tuple) -> list[str]:
    return jax.tree_util.keystr(path, simple=True, separator="/").split("/")


def _place_in_model(path: tuple) -> tuple[str, str]:
    """(module, top-level part) of a leaf, e.g. ("model", "stage2"); empty where no part of the path is called so."""
    names = _names(path)
    for index, name in enumerate(names[:-1]):
        if _TOP.fullmatch(name):
            return "/".join(names[:index]), name
    return "", ""


def _depth(part: str) -> int | None:
    """0 for the stem, i for stage or block i, None for what lies above them."""
    numbered = _DEPTH.fullmatch(part)
    return int(numbered.group(1)) if numbered else 0 if part == "stem" else None


def _heights(params) -> Callable[[tuple], int | None]:
    """A function of a leaf's path: how many layers of its model lie above, 0 for norm and head, 1 for the last block; None outside models.

    A module is a model when it has a stem, stages or blocks: a projector with a norm is none.
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


def layer_scales(params, rate: float):
    """The factor of every leaf's learning rate: ``rate ** (layers above it)``.

    A module's tree begins with stem, stage1.. or block1.., norm, head; head and norm get 1, the last block ``rate``, the stem the least
    (Clark et al., "ELECTRA", 2020; Bao et al., "BEiT", 2021). Leaves outside such a tree get 1.
    """
    height = _heights(params)
    return jax.tree_util.tree_map_with_path(lambda path, leaf: rate ** (height(path) or 0), params)


def scale_by_layer(rate: float) -> optax.GradientTransformation:
    """Layer-wise decay of the learning rate, for any model; see ``layer_scales``. Raises ValueError for a rate outside (0, 1]."""
    if not 0 < rate <= 1:
        raise ValueError(f"layer_rate: found {rate}, expected a factor above 0 and at most 1 from each layer to the one below")
    return optax.stateless(lambda updates, params: jax.tree.map(jnp.multiply, updates, layer_scales(updates, rate)))


def freeze(optimizer: optax.GradientTransformation, *, train: str | int) -> optax.GradientTransformation:
    """Train only the head (``train="head"``), or the last ``train`` stages or blocks with the norm and head above them.

    Everything else stays bit for bit (running statistics of BatchNorm apart, which belong to no optimizer); leaves outside a model's
    tree (projectors and the like) are trained. Raises ValueError for another value, and on ``init`` for parameters without any such tree.
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
    """clip -> [decay as part of the gradient] -> direction -> [decoupled decay] -> layer scales -> rate -> what comes after the rate."""
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


def sgd(learning_rate, *, weight_decay=0.0, **options) -> optax.GradientTransformation:
    """Plain stochastic gradient descent; weight decay is part of the gradient, as in PyTorch.

    Options of every optimizer here: ``decay_mask`` (tree of bools or function of params), ``clip_norm`` (largest global gradient
    norm), ``layer_rate`` (see ``layer_scales``).
    """
    return _build([], learning_rate, coupled=True, weight_decay=weight_decay, **options)


def momentum(learning_rate, *, beta=0.9, nesterov=False, weight_decay=0.0, **options) -> optax.GradientTransformation:
    """SGD with (Nesterov) momentum as in PyTorch: v <- beta v + g, without dampening; further options as ``sgd``'s."""
    return _build([optax.trace(beta, nesterov)], learning_rate, coupled=True, weight_decay=weight_decay, **options)


def adam(learning_rate, *, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0, **options) -> optax.GradientTransformation:
    """Adam (Kingma & Ba, 2015); weight decay, if any, is part of the gradient, as in PyTorch's Adam; further options as ``sgd``'s."""
    return _adam(learning_rate, beta1, beta2, epsilon, coupled=True, weight_decay=weight_decay, **options)


def adamw(learning_rate, *, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01, **options) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter, 2019): decay apart from the gradient, times the learning rate; further options as ``sgd``'s."""
    return _adam(learning_rate, beta1, beta2, epsilon, coupled=False, weight_decay=weight_decay, **options)


def lars(learning_rate, *, beta=0.9, trust_coefficient=0.001, weight_decay=0.0, decay_mask=decay_mask, **options):
    """LARS (You et al., "Large Batch Training of Convolutional Networks", 2017); further options as ``sgd``'s.

    Leaves of ``decay_mask`` get weight decay and a trust ratio, the others neither; momentum accumulates what the rate has scaled.
    """
    trust = optax.masked(optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient), decay_mask)
    return _build(
        [trust], learning_rate, coupled=True, after=[optax.trace(beta)], weight_decay=weight_decay, decay_mask=decay_mask, **options
    )


def lamb(learning_rate, *, beta1=0.9, beta2=0.999, epsilon=1e-6, weight_decay=0.0, decay_mask=decay_mask, **options):
    """LAMB (You et al., "Large Batch Optimization for Deep Learning", 2020); further options as ``sgd``'s.

    Adam's direction, weight decay added to it, then a trust ratio leaf by leaf.
    """
    decay = [optax.add_decayed_weights(weight_decay, decay_mask)] if weight_decay else []
    direction = [optax.scale_by_adam(beta1, beta2, epsilon), *decay, optax.scale_by_trust_ratio()]
    return _build(direction, learning_rate, coupled=False, **options)


def _as_matrix(leaf: Array) -> optax.contrib.MuonDimensionNumbers:
    """A kernel [..., D] as a matrix of inputs times outputs."""
    return optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)


def muon(
    learning_rate, *, beta=0.95, nesterov=True, rms=0.2, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01, **options
) -> optax.GradientTransformation:
    """Muon (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024), with AdamW beside it.

    The momentum of a kernel, a matrix of inputs times outputs, is made orthogonal by five Newton-Schulz steps.
    An update is scaled by ``rms`` sqrt(max(inputs, outputs)), the size of AdamW's, so that its rates and decay serve (Liu et al., "Muon is
    Scalable for LLM Training", 2025, equation 4); ``rms`` None: by sqrt(max(1, outputs / inputs)). Heads, filters of single channels,
    and leaves that are no kernels get AdamW with ``beta1``, ``beta2`` and ``epsilon``. Further options as ``sgd``'s.
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


def warmup_cosine(peak: float, steps: int, *, warmup: int = 0, end: float = 0.0) -> Callable:
    """Linear from 0 to ``peak`` in ``warmup`` updates, then a cosine to ``end`` at ``steps``.

    Raises ValueError when the warm-up is not shorter than the run.
    """
    if not 0 <= warmup < max(steps, 1):
        raise ValueError(f"warmup: found {warmup}, expected 0 or more and fewer than the {steps} steps of the run")
    cosine = optax.cosine_decay_schedule(peak, max(steps - warmup, 1), alpha=end / peak if peak else 0.0)
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), cosine], [warmup]) if warmup else cosine


def cosine(start: float, end: float, steps: int) -> Callable:
    """Half a cosine from ``start`` to ``end`` in ``steps`` updates, then ``end``, whichever is larger: a schedule for anything.

    DINO's momentum is ``cosine(0.996, 1.0, steps)``, its weight decay ``cosine(0.04, 0.4, steps)`` (Caron et al., 2021). Raises ValueError
    for fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"steps: found {steps}, expected at least 1")
    share = optax.cosine_decay_schedule(1.0, steps)
    return lambda count: share(count) * start + (1 - share(count)) * end  # exact at both ends


def step_decay(initial: float, boundaries: tuple[int, ...], *, factor: float = 0.1, warmup: int = 0) -> Callable:
    """``initial`` times ``factor`` after each of ``boundaries`` (in updates from the start), after a linear warm-up from 0."""
    constant = optax.piecewise_constant_schedule(initial, {boundary: factor for boundary in boundaries})
    if not warmup:
        return constant
    rise = optax.linear_schedule(0.0, initial, warmup)
    return lambda count: jnp.where(count < warmup, rise(count), constant(count))


def _surrogate(params):
    """A tree of the same structure and ranks with one element a leaf: what an optimizer does to it, it does to the whole."""
    return jax.tree.map(lambda leaf: jnp.ones((1,) * jnp.ndim(leaf), jnp.float32), params)


def never_updates(optimizer: optax.GradientTransformation, params, steps: int) -> bool:
    """Whether ``steps`` updates would leave every parameter as it is: a rate of 0 throughout, everything frozen, an accumulation too long.

    The optimizer itself is run on one-element leaves with gradients of one, up to its first update that is not zero.
    """
    small = _surrogate(params)

    def idle(loop):
        count, moved, _ = loop
        return (count < steps) & ~moved

    def update(loop):
        count, _, opt_state = loop
        updates, opt_state = optimizer.update(small, opt_state, small)
        moved = jnp.any(jnp.stack([jnp.any(leaf != 0) for leaf in jax.tree.leaves(updates)]))
        return count + 1, moved, opt_state

    _, moved, _ = jax.jit(lambda: jax.lax.while_loop(idle, update, (0, jnp.bool_(False), optimizer.init(small))))()
    return not bool(moved)


def peak_learning_rate(optimizer: optax.GradientTransformation, params, steps: int) -> float | None:
    """The largest learning rate over a run of ``steps`` updates (sampled at 512 of them); None where the optimizer hides it.

    ``optax.MultiSteps`` hides it as well: its update count is not the run's.
    """
    small = _surrogate(params)
    start = optimizer.init(small)
    if learning_rate_of(start) is None or optax.tree_utils.tree_get_all_with_path(start, "mini_step"):
        return None

    def rate(count):
        at_count = jax.tree_util.tree_map_with_path(lambda path, leaf: count if _names(path)[-1:] == ["count"] else leaf, start)
        _, opt_state = optimizer.update(small, at_count, small)
        return learning_rate_of(opt_state)

    counts = jnp.unique(jnp.linspace(0, max(steps - 1, 0), 512).astype(jnp.int32))
    return float(jnp.max(jax.jit(jax.vmap(rate))(counts)))

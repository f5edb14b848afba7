"""Optimizers against PyTorch's and the papers' formulas; schedules, masks, layer decay, freezing, the check for runs without an update."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.train import optimizers, recorded_rate, schedules
from tests.marks import slow

STEPS = 10
DRAW = np.random.default_rng(0)
PARAMS = {"kernel": DRAW.standard_normal((3, 4)).astype(np.float32), "bias": DRAW.standard_normal(4).astype(np.float32)}
GRADIENTS = [{name: DRAW.standard_normal(leaf.shape).astype(np.float32) for name, leaf in PARAMS.items()} for _ in range(STEPS)]


def dense(inputs: int, outputs: int) -> dict:
    return {"kernel": jnp.full((inputs, outputs), 0.5), "bias": jnp.full(outputs, 0.5)}


def norm() -> dict:
    return {"scale": jnp.ones(4), "bias": jnp.zeros(4)}


VIT = {
    "stem": {"patch": dense(4, 4), "position": jnp.ones((5, 4)), "class_token": jnp.ones((1, 4)), "mask_token": jnp.ones((1, 4))},
    **{f"block{index}": {"norm1": norm(), "attention": {"head": dense(4, 4)}, "mlp": dense(4, 4)} for index in (1, 2, 11)},
    "norm": norm(),
    "head": dense(4, 2),
}
LENET = {"stem": dense(4, 4), "stage1": dense(4, 4), "stage2": dense(4, 4), "head": dense(4, 2)}
NESTED = {"contrast": {"encoder": VIT}, "projector": {"norm": norm(), "head": dense(4, 4)}, "temperature": jnp.ones(())}


def run(optimizer, params=PARAMS, gradients=GRADIENTS) -> dict:
    """The parameters after an update a gradient."""

    def update(carry, gradient):
        params, opt_state = carry
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), recorded_rate.learning_rate_of(opt_state)

    params = jax.tree.map(jnp.asarray, params)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *gradients)
    (params, _), rates = jax.jit(lambda: jax.lax.scan(update, (params, optimizer.init(params)), stacked))()
    return params, rates


def ones_like(params) -> list:
    return [jax.tree.map(jnp.ones_like, params)]


def in_torch(make, clip_norm=None) -> dict:
    """The same run in PyTorch; ``make(kernel, bias)`` gives its optimizer."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
    leaves = {name: torch.nn.Parameter(torch.tensor(leaf)) for name, leaf in PARAMS.items()}
    optimizer = make(torch.optim, leaves["kernel"], leaves["bias"])
    for gradient in GRADIENTS:
        for name, leaf in leaves.items():
            leaf.grad = torch.tensor(gradient[name])
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(leaves.values(), clip_norm)
        optimizer.step()
    return {name: leaf.detach().numpy() for name, leaf in leaves.items()}


def split(kernel, bias, decay) -> list:
    """PyTorch's parameter groups for our default mask: the bias is not decayed."""
    return [{"params": [kernel], "weight_decay": decay}, {"params": [bias], "weight_decay": 0.0}]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (optimizers.sgd(0.1), lambda optim, *p: optim.SGD(p, 0.1)),
        (optimizers.sgd(0.1, weight_decay=0.2), lambda optim, *p: optim.SGD(split(*p, 0.2), 0.1)),
        (optimizers.sgd(0.1, weight_decay=0.2, decay_mask=None), lambda optim, *p: optim.SGD(p, 0.1, weight_decay=0.2)),
        (optimizers.momentum(0.1, weight_decay=0.2), lambda optim, *p: optim.SGD(split(*p, 0.2), 0.1, momentum=0.9)),
        (
            optimizers.momentum(0.1, beta=0.8, nesterov=True, weight_decay=0.2),
            lambda optim, *p: optim.SGD(split(*p, 0.2), 0.1, momentum=0.8, nesterov=True),
        ),
        (optimizers.adam(0.1), lambda optim, *p: optim.Adam(p, 0.1)),
        (optimizers.adam(0.1, weight_decay=0.2), lambda optim, *p: optim.Adam(split(*p, 0.2), 0.1)),
        (optimizers.adamw(0.1), lambda optim, *p: optim.AdamW(split(*p, 0.01), 0.1)),
        (
            optimizers.adamw(0.1, beta1=0.8, beta2=0.95, epsilon=1e-3, weight_decay=0.2),
            lambda optim, *p: optim.AdamW(split(*p, 0.2), 0.1, betas=(0.8, 0.95), eps=1e-3),
        ),
    ],
    ids=["sgd", "sgd_decay", "sgd_decay_all", "momentum", "nesterov", "adam", "adam_l2", "adamw", "adamw_options"],
)
def test_ten_steps_are_pytorchs(request, ours, theirs):
    found, expected = run(ours)[0], in_torch(theirs)
    for name in PARAMS:  # optax corrects Adam's bias in float32, PyTorch in float64: 1 - 0.999 is 1e-5 apart
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-6, atol=2e-5 if "adam" in request.node.callspec.id else 2e-6)


def test_clipping_is_pytorchs():
    found, expected = run(optimizers.momentum(0.1, clip_norm=1.5))[0], in_torch(lambda optim, *p: optim.SGD(p, 0.1, momentum=0.9), 1.5)
    for name in PARAMS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=2e-6)


def lars_by_hand(rate, decay, beta, trust) -> dict:
    """You, Gitman & Ginsburg, 2017, algorithm 1, in float64; the bias has neither decay nor trust ratio."""
    weights, velocity = {name: leaf.astype(np.float64) for name, leaf in PARAMS.items()}, dict.fromkeys(PARAMS, 0.0)
    for gradient in GRADIENTS:
        for name in weights:
            direction = gradient[name] + decay * weights[name] * (name == "kernel")
            local = trust * np.linalg.norm(weights[name]) / np.linalg.norm(direction) if name == "kernel" else 1.0
            velocity[name] = beta * velocity[name] + rate * local * direction
            weights[name] = weights[name] - velocity[name]
    return weights


def lamb_by_hand(rate, decay, beta1, beta2, epsilon) -> dict:
    """You et al., 2020, algorithm 2, in float64, with phi the identity; the bias is not decayed."""
    weights = {name: leaf.astype(np.float64) for name, leaf in PARAMS.items()}
    first, second = dict.fromkeys(PARAMS, 0.0), dict.fromkeys(PARAMS, 0.0)
    for step, gradient in enumerate(GRADIENTS, 1):
        for name in weights:
            first[name] = beta1 * first[name] + (1 - beta1) * gradient[name]
            second[name] = beta2 * second[name] + (1 - beta2) * gradient[name].astype(np.float64) ** 2
            ratio = first[name] / (1 - beta1**step) / (np.sqrt(second[name] / (1 - beta2**step)) + epsilon)
            direction = ratio + decay * weights[name] * (name == "kernel")
            weights[name] = weights[name] - rate * np.linalg.norm(weights[name]) / np.linalg.norm(direction) * direction
    return weights


def muon_by_hand(rate, decay, beta, nesterov, size) -> dict:
    """Jordan et al., 2024, in float64: the momentum with its bias corrected, five Newton-Schulz steps, ``size(inputs, outputs)``."""
    weights, mean = PARAMS["kernel"].astype(np.float64), 0.0
    for step, gradient in enumerate((one["kernel"].astype(np.float64) for one in GRADIENTS), 1):
        mean = beta * mean + (1 - beta) * gradient
        direction = mean / (1 - beta**step)
        if nesterov:
            direction = beta * mean / (1 - beta ** (step + 1)) + (1 - beta) * gradient / (1 - beta**step)
        x = direction / np.linalg.norm(direction)
        for _ in range(5):
            x = 3.4445 * x - 4.7750 * x @ x.T @ x + 2.0315 * x @ x.T @ x @ x.T @ x
        weights = weights - rate * (size(*x.shape) * x + decay * weights)
    return weights


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("rms", [0.2, None])
def test_muon_is_the_papers_for_kernels_and_adamw_elsewhere(nesterov, rms):
    found, _ = run(optimizers.muon(0.1, beta=0.9, nesterov=nesterov, rms=rms, weight_decay=0.2))
    size = lambda inputs, outputs: max(1, outputs / inputs) ** 0.5 if rms is None else rms * max(inputs, outputs) ** 0.5  # noqa: E731
    np.testing.assert_allclose(found["kernel"], muon_by_hand(0.1, 0.2, 0.9, nesterov, size), rtol=1e-4, atol=1e-5)
    adam, _ = run(optimizers.adamw(0.1, weight_decay=0.2))
    np.testing.assert_allclose(found["bias"], adam["bias"], rtol=1e-6)


def test_muon_is_for_kernels_of_convolutions_not_for_heads_or_tokens():
    drawn = np.random.default_rng(0).standard_normal
    params = {"stage1": {"kernel": drawn((3, 3, 4, 8))}, "stage2": {"kernel": drawn((3, 3, 1, 8))}, "head": {"kernel": drawn((8, 3))}}
    params["stem"] = {"registers": drawn((5, 4))}
    params = {"model": jax.tree.map(np.float32, params)}
    found, adam = (run(make(1.0, weight_decay=0.0), params, [params])[0]["model"] for make in (optimizers.muon, optimizers.adamw))
    moved = (params["model"]["stage1"]["kernel"] - found["stage1"]["kernel"]).reshape(36, 8) / (0.2 * 36**0.5)
    assert np.all(np.abs(np.linalg.svd(moved, compute_uv=False) - 1) < 0.35)  # Newton-Schulz leaves them between 0.7 and 1.2
    for part, name in (("stem", "registers"), ("stage2", "kernel"), ("head", "kernel")):
        np.testing.assert_allclose(found[part][name], adam[part][name], rtol=1e-6)


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (optimizers.lars(2.0, weight_decay=0.2, trust_coefficient=0.01), lars_by_hand(2.0, 0.2, 0.9, 0.01)),
        (optimizers.lamb(0.05, weight_decay=0.2), lamb_by_hand(0.05, 0.2, 0.9, 0.999, 1e-6)),
    ],
    ids=["lars", "lamb"],
)
def test_ten_steps_are_the_papers(ours, expected):
    found, _ = run(ours)
    for name in PARAMS:
        np.testing.assert_allclose(found[name], expected[name], rtol=5e-6, atol=5e-6)


def test_warmup_cosine_by_its_formula():
    schedule = schedules.warmup_cosine(0.4, 20, warmup=4, end=0.1)
    found = [float(schedule(count)) for count in range(21)]
    expected = [0.4 * count / 4 if count < 4 else 0.1 + 0.3 * (1 + np.cos(np.pi * (count - 4) / 16)) / 2 for count in range(21)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert float(schedules.warmup_cosine(0.4, 20)(0)) == pytest.approx(0.4)
    assert float(schedules.warmup_cosine(0.4, 20)(20)) == pytest.approx(0, abs=1e-8)
    for warmup in (-1, 20):
        with pytest.raises(ValueError, match="warmup"):
            schedules.warmup_cosine(0.4, 20, warmup=warmup)


def test_step_decay_by_its_values():
    schedule = schedules.step_decay(1.0, (6, 9), warmup=4)
    np.testing.assert_allclose(
        [float(schedule(count)) for count in range(11)], [0, 0.25, 0.5, 0.75, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6
    )
    half = schedules.step_decay(1.0, (2,), factor=0.5)
    np.testing.assert_allclose([float(half(count)) for count in range(4)], [1, 1, 0.5, 0.5])


def test_the_rate_of_the_last_update_is_recorded():
    schedule = schedules.warmup_cosine(0.1, STEPS, warmup=3)
    expected = [float(schedule(count)) for count in range(STEPS)]
    for optimizer in (optimizers.adamw(schedule, clip_norm=1.0), optax.inject_hyperparams(optax.adamw)(schedule)):
        np.testing.assert_allclose(run(optimizer)[1], expected, rtol=1e-6)
    layers = optimizers.freeze(optimizers.sgd(schedule, layer_rate=0.5), train=1)
    np.testing.assert_allclose(run(layers, LENET, ones_like(LENET) * STEPS)[1], expected, rtol=1e-6)
    assert float(recorded_rate.learning_rate_of(optax.MultiSteps(optimizers.sgd(0.3), 2).init(PARAMS))) == pytest.approx(0.3)
    assert recorded_rate.learning_rate_of(optax.adam(0.1).init(PARAMS)) is None


def test_updates_keep_the_type_of_their_leaf():
    optimizer = optimizers.momentum(0.1, layer_rate=0.5)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), LENET)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype(jnp.bfloat16)}


def test_only_kernels_are_decayed():
    def expected(tree):
        return {name: expected(leaf) if isinstance(leaf, dict) else name == "kernel" for name, leaf in tree.items()}

    for tree in (VIT, LENET, NESTED):
        assert optimizers.decay_mask(tree) == expected(tree)
    assert optimizers.decay_mask({"kernel": jnp.ones(3)}) == {"kernel": False}  # a vector, whatever its name


def test_layer_scales_of_a_vit_a_lenet_and_a_nested_tree():
    def all_of(tree) -> set:
        return set(jax.tree.leaves(tree))

    scales = optimizers.layer_scales({"model": VIT}, 0.5)["model"]
    assert {name: all_of(part) for name, part in scales.items()} == {
        "stem": {0.5**12},
        "block1": {0.5**11},
        "block2": {0.5**10},
        "block11": {0.5},
        "norm": {1.0},
        "head": {1.0},
    }
    nested = optimizers.layer_scales(NESTED, 0.5)
    assert nested["contrast"]["encoder"] == scales and all_of(nested["projector"]) | all_of(nested["temperature"]) == {1.0}
    two = optimizers.layer_scales({"one": LENET, "two": VIT}, 0.5)
    assert [all_of(two["one"][name]) for name in LENET] == [{0.125}, {0.25}, {0.5}, {1.0}] and two["two"] == scales


def test_layer_decay_scales_the_update():
    for optimizer in (optimizers.sgd(0.1, layer_rate=0.5), optax.chain(optimizers.scale_by_layer(0.5), optax.sgd(0.1))):
        after, _ = run(optimizer, {"model": LENET}, ones_like({"model": LENET}))
        for name, scale in zip(LENET, (0.125, 0.25, 0.5, 1), strict=True):
            np.testing.assert_allclose(after["model"][name]["kernel"], 0.5 - 0.1 * scale, rtol=1e-6)


@pytest.mark.parametrize(
    ("train", "moving"),
    [
        ("head", {"head"}),
        (0, {"norm", "head"}),
        (1, {"block11", "norm", "head"}),
        (10, {"block11", "block2", "norm", "head"}),  # 11, 10, ..., 2
        (12, set(VIT)),
    ],
    ids=["head", "0", "1", "10", "12"],
)
def test_frozen_leaves_stay_bit_for_bit(train, moving):
    optimizer = optimizers.freeze(optimizers.adamw(0.1, weight_decay=0.5, clip_norm=1.0, layer_rate=0.9), train=train)
    after, _ = run(optimizer, NESTED, ones_like(NESTED) * 3)
    for name, part in VIT.items():
        same = [np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (part, after["contrast"]["encoder"][name])), strict=True)]
        assert not any(same) if name in moving else all(same), name
    assert not any(jax.tree.leaves(jax.tree.map(np.array_equal, NESTED["projector"], after["projector"])))  # not a model: trained


def test_freeze_refuses_wrong_values_and_trees():
    for train in ("tail", -1):
        with pytest.raises(ValueError, match="train"):
            optimizers.freeze(optimizers.sgd(0.1), train=train)
    with pytest.raises(ValueError, match="params"):
        optimizers.freeze(optimizers.sgd(0.1), train="head").init(PARAMS)


ENCODER = {"encoder": {name: part for name, part in LENET.items() if name != "head"}}
SLOW = schedules.warmup_cosine(0.1, 100, warmup=50)


@pytest.mark.parametrize(
    ("optimizer", "params", "steps", "never"),
    [
        (optimizers.sgd(0.1), LENET, 1, False),
        (optimizers.sgd(0.0), LENET, 20, True),
        (optimizers.adamw(0.0, weight_decay=0.1), LENET, 20, True),
        (optimizers.momentum(0.1, clip_norm=0.0), LENET, 20, True),
        (optimizers.sgd(SLOW), LENET, 1, True),  # a warm-up begins at 0
        (optimizers.sgd(SLOW), LENET, 2, False),
        (optimizers.sgd(schedules.step_decay(0.0, (5,))), LENET, 20, True),
        (optax.set_to_zero(), LENET, 20, True),
        (optimizers.freeze(optimizers.sgd(0.1), train="head"), {"model": LENET}, 20, False),
        (optimizers.freeze(optimizers.sgd(0.1), train="head"), ENCODER, 20, True),  # it has no head
        (optax.MultiSteps(optimizers.adam(0.1), 4), LENET, 3, True),
        (optax.MultiSteps(optimizers.adam(0.1), 4), LENET, 4, False),
        (optax.MultiSteps(optimizers.sgd(SLOW), 4), LENET, 7, True),
        (optax.MultiSteps(optimizers.sgd(SLOW), 4), LENET, 8, False),
        (optax.inject_hyperparams(optax.sgd)(0.0), LENET, 20, True),
        (optax.adafactor(0.1), LENET, 20, False),  # decides by the shape of a leaf
        (optimizers.lars(0.1, weight_decay=0.1), LENET, 20, False),
        (optimizers.lamb(0.1, layer_rate=0.7), LENET, 20, False),
        (optimizers.muon(0.1), VIT, 20, False),
        (optimizers.muon(0.0), VIT, 20, True),
        (optax.apply_if_finite(optimizers.adam(0.1), 3), LENET, 20, False),
    ],
)
def test_never_updates(optimizer, params, steps, never):
    assert recorded_rate.never_updates(optimizer, params, steps) is never


def test_the_check_for_updates_needs_little_memory_and_time():
    huge = {"model": {"stem": {"kernel": jax.ShapeDtypeStruct((10**6, 10**6), jnp.float32)}}}
    assert not recorded_rate.never_updates(optimizers.adamw(0.1), huge, 10**9)


def test_the_peak_of_a_schedule():
    schedule = schedules.warmup_cosine(0.1, 1000, warmup=100)
    for optimizer in (
        optimizers.adam(schedule),
        optax.inject_hyperparams(optax.adam)(schedule),
        optimizers.freeze(optimizers.sgd(schedule), train=1),
    ):
        assert recorded_rate.peak_learning_rate(optimizer, LENET, 1000) == pytest.approx(0.1, rel=0.02)
        assert recorded_rate.peak_learning_rate(optimizer, LENET, 11) == pytest.approx(0.01, rel=1e-5)
    assert recorded_rate.peak_learning_rate(optax.adam(0.1), LENET, 1000) is None
    assert recorded_rate.peak_learning_rate(optax.MultiSteps(optimizers.sgd(schedule), 2), LENET, 1000) is None


def test_cosine_rises_or_falls_and_stays_at_its_end():
    for start, end in ((0.996, 1.0), (0.04, 0.4), (1.0, 0.0)):
        schedule = schedules.cosine(start, end, 100)
        found = [float(schedule(count)) for count in (0, 25, 50, 100, 250)]
        middle = [end + (start - end) * (1 + np.cos(np.pi * share)) / 2 for share in (0.25, 0.5)]
        assert found == pytest.approx([start, *middle, end, end], rel=1e-6)
    with pytest.raises(ValueError, match="steps"):
        schedules.cosine(0.0, 1.0, 0)


def test_weight_decay_by_a_schedule_is_the_formula_of_each_update():
    decay = schedules.cosine(0.04, 0.4, STEPS)
    found, _ = run(optimizers.adamw(0.1, weight_decay=decay))
    kernel, mean, square = PARAMS["kernel"].astype(np.float64), 0.0, 0.0
    for count, gradient in enumerate(GRADIENTS):
        mean, square = 0.9 * mean + 0.1 * gradient["kernel"], 0.999 * square + 0.001 * gradient["kernel"] ** 2
        direction = mean / (1 - 0.9 ** (count + 1)) / (np.sqrt(square / (1 - 0.999 ** (count + 1))) + 1e-8)
        rate = 0.4 + (0.04 - 0.4) * (1 + np.cos(np.pi * count / STEPS)) / 2
        kernel = kernel - 0.1 * (direction + rate * kernel)
    np.testing.assert_allclose(found["kernel"], kernel, rtol=1e-4, atol=1e-5)
    constant, _ = run(optimizers.adamw(0.1, weight_decay=0.0))
    np.testing.assert_array_equal(found["bias"], constant["bias"])  # no vector is decayed


@pytest.mark.parametrize(
    "make", [optimizers.adamw, *map(slow, (optimizers.sgd, optimizers.adam, optimizers.lars, optimizers.lamb, optimizers.muon))]
)
def test_a_schedule_of_the_decay_does_not_hide_the_rate(make):
    decay = schedules.cosine(0.04, 0.4, 1000)
    optimizer = make(schedules.warmup_cosine(0.1, 1000, warmup=100), weight_decay=decay, layer_rate=0.9)
    assert recorded_rate.peak_learning_rate(optimizer, LENET, 1000) == pytest.approx(0.1, rel=0.02)
    assert recorded_rate.never_updates(optimizer, LENET, 1) and not recorded_rate.never_updates(optimizer, LENET, 2)
    scheduled, _ = run(make(0.1, weight_decay=lambda count: 0.2))
    constant, _ = run(make(0.1, weight_decay=0.2))
    for name in PARAMS:
        np.testing.assert_allclose(scheduled[name], constant[name], rtol=1e-5, atol=1e-7)

"""Adam and AdamW by the kernel equal optax's chain: parameters, state and average, for every option, over several steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxvision as jv
from jaxvision.train import fused
from tests.kernels.marks import built
from tests.marks import slow, split
from tests.train.test_optimizers import VIT, dense

SCHEDULE = optax.linear_schedule(0.1, 0.01, 4)
PARAMS = VIT | {"wide": dense(40, 70)}
OPTIONS = {
    "plain": {},
    "a gradient that is clipped": {"clip_norm": 0.01},
    "a gradient that is not": {"clip_norm": 1e6},
    "decay": {"weight_decay": 0.3},
    "decay by a schedule": {"weight_decay": SCHEDULE},
    "decay of every leaf": {"weight_decay": 0.3, "decay_mask": None},
    "decay of every leaf by a schedule": {"weight_decay": SCHEDULE, "decay_mask": None},
    "a mask of tops": {"weight_decay": 0.3, "decay_mask": {name: name == "head" for name in PARAMS}},
    "layers": {"layer_rate": 0.7},
    "everything": {"clip_norm": 0.1, "weight_decay": SCHEDULE, "layer_rate": 0.7, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3},
}


def moves(optimizer, *, ema: bool, poison: int | None = None) -> fused.Moved:
    """What four updates leave, of which that numbered ``poison`` is not finite."""
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: leaf + random.standard_normal(leaf.shape).astype(np.float32), PARAMS)

    @jax.jit
    def update(state: fused.Moved, grads: dict) -> fused.Moved:
        finite = jnp.isfinite(optax.tree.norm(grads))
        return fused.moved(optimizer, grads, state.opt_state, state.params, finite=finite, average=state.average, decay=0.9)

    state = fused.Moved(params, optimizer.init(params), params if ema else {})
    for number in range(4):
        grads = jax.tree.map(lambda leaf: jnp.asarray(random.standard_normal(leaf.shape), jnp.float32), params)
        if number == poison:
            grads["head"]["bias"] = grads["head"]["bias"].at[0].set(jnp.inf)
        state = update(state, grads)
    return state


@built
@pytest.mark.parametrize("make", [slow(jv.train.adam), jv.train.adamw])
@pytest.mark.parametrize("name", split(OPTIONS, {"plain", "everything"}))
def test_the_kernel_equals_the_chain(make, name, monkeypatch):
    optimizer = make(SCHEDULE, **OPTIONS[name])
    assert isinstance(optimizer, optax.GradientTransformationExtraArgs)
    calls = []
    original = fused.kernels.adam
    monkeypatch.setattr(fused.kernels, "adam", lambda *given: calls.append(1) or original(*given))
    ours = moves(optimizer, ema=True, poison=2)
    assert len(calls) == len(jax.tree.leaves(PARAMS))  # traced once
    theirs = moves(optax.GradientTransformation(*optimizer), ema=True, poison=2)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for (path, our), their in zip(jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        assert our.dtype == their.dtype
        np.testing.assert_allclose(our, their, rtol=3e-6, atol=3e-6 * max(1e-3, np.abs(their).max()), err_msg=jax.tree_util.keystr(path))


@built
def test_without_an_average_none_is_returned_and_the_rate_is_recorded():
    optimizer = jv.train.adamw(SCHEDULE)
    state = moves(optimizer, ema=False)
    assert state.average == {}
    np.testing.assert_allclose(jv.train.recorded_rate.learning_rate_of(state.opt_state), SCHEDULE(3))


@built
def test_the_step_uses_the_kernel():
    objective, optimizer = jv.objectives.supervised(jv.create_model("lenet5", num_classes=10)), jv.train.adamw(0.1)
    batch, key = {"image": np.zeros((2, 32, 32, 1), np.float32), "label": np.zeros(2, np.int32)}, jax.random.key(0)
    for ema, name in ((None, "adam["), (0.9, "adam_average[")):
        state = jv.train.init(objective, optimizer, batch, key=key, ema=ema)
        assert name in str(jax.make_jaxpr(jv.train.make_step(objective, optimizer, ema=ema))(state, batch, key))


@built
def test_other_types_and_copies_use_the_chain():
    optimizer = jv.train.adamw(0.1)
    assert optimizer._replace(update=optimizer.update).parts_of_chain is None
    text = lambda params: str(  # noqa: E731
        jax.make_jaxpr(lambda tree: fused.moved(optimizer, tree, optimizer.init(tree), tree, finite=True))(params)
    )
    assert "adam[" in text(PARAMS)
    assert "adam[" not in text(jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS))
    assert "adam[" not in text(PARAMS | {"temperature": jnp.bfloat16(1)})


@pytest.mark.slow
@built
@pytest.mark.parametrize(
    ("driver", "options"),
    [("jit", {"fsdp": True}), ("jit", {}), ("shard_map", {}), ("pmap", {})],
)
def test_devices_change_no_number(driver, options):
    """Eight of them, with a weight average, beside one."""
    objective = jv.objectives.supervised(jv.create_model("lenet5", num_classes=10))
    optimizer = jv.train.adamw(1e-3, weight_decay=0.1, clip_norm=1.0)
    random = np.random.default_rng(0)
    batch = {"image": random.standard_normal((16, 32, 32, 1)).astype(np.float32), "label": random.integers(0, 10, 16)}
    key, pure = jax.random.key(0), jv.train.make_step(objective, optimizer, ema=0.9)
    begin = lambda: jv.train.init(objective, optimizer, batch, key=key, ema=0.9)  # noqa: E731
    one, _ = jv.train.compile_step(pure, devices=jax.devices()[:1])(begin(), batch, key)
    many, _ = jv.train.compile_step(pure, driver=driver, **options)(begin(), batch, key)
    for ours, theirs in zip(jax.tree.leaves(many.opt_state), jax.tree.leaves(one.opt_state), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * max(np.abs(theirs).max(), 1e-6))
    expected = jax.tree.map(lambda old, new: 0.9 * np.asarray(old) + 0.1 * np.asarray(new), begin().params, many.params)
    for ours, theirs in zip(jax.tree.leaves(many.ema["params"]), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="after"):
        jv.train.adamw(0.1, after=[optax.scale(0.5)])

"""The pure step: gradients, accumulation, skipping, averaging and draws, on problems with a known solution."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxvision as jv
from jaxvision.models.lenet import LeNet5

KEY = jax.random.key(3)


def least_squares(poison: float | None = None) -> jv.Objective:
    """loss = mean (image . w - label)^2, counting its calls in the memory; nan where a label equals ``poison``."""

    def init(key, batch, given={}):
        return {"model": given.get("model", {"w": jnp.zeros(2)})}, jv.Carry({"model": {"sum": jnp.zeros(())}}, {"calls": jnp.zeros(())})

    def loss(params, carry, batch, *, key, step):
        error = batch["image"] @ params["model"]["w"] - batch["label"]
        value = jnp.mean(error**2)
        if poison is not None:
            value = jnp.where(jnp.any(batch["label"] == poison), jnp.nan, value)
        stats = {"model": {"sum": carry.stats["model"]["sum"] + jnp.sum(batch["label"])}}
        return value, jv.Aux(jv.Carry(stats, {"calls": carry.memory["calls"] + 1}), {"error": jnp.mean(jnp.abs(error))})

    def after(params, carry, step):
        return carry._replace(memory={"calls": carry.memory["calls"] + 100})

    return jv.Objective(init, loss, after)


def batch_of(count: int = 8, seed: int = 0) -> dict:
    draw = np.random.default_rng(seed)
    return {"image": draw.standard_normal((count, 2)).astype(np.float32), "label": draw.standard_normal(count).astype(np.float32)}


def run(objective, optimizer, batches, **options):
    state = jv.train.init(objective, optimizer, batches[0], key=KEY, ema=options.get("ema"))
    step = jax.jit(jv.train.make_step(objective, optimizer, **options))
    for batch in batches:
        state, metrics = step(state, batch, KEY)
    return state, metrics


def test_one_step_is_gradient_descent():
    batch = batch_of()
    state, metrics = run(least_squares(), jv.train.sgd(0.1), [batch])
    gradient = -2 * batch["image"].T @ batch["label"] / 8
    np.testing.assert_allclose(state.params["model"]["w"], -0.1 * gradient, rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], np.mean(batch["label"] ** 2), rtol=1e-6)
    np.testing.assert_allclose(metrics["gradient_norm"], np.linalg.norm(gradient), rtol=1e-6)
    np.testing.assert_allclose(metrics["learning_rate"], 0.1, rtol=1e-6)
    assert int(state.step) == 1 and float(state.carry.memory["calls"]) == 101


def test_accumulation_is_the_same_update_and_the_carry_flows_through():
    batches = [batch_of(seed=seed) for seed in range(3)]
    whole, metrics = run(least_squares(), jv.train.adam(0.1), batches)
    parts, metrics_of_parts = run(least_squares(), jv.train.adam(0.1), batches, accumulate=4)
    np.testing.assert_allclose(parts.params["model"]["w"], whole.params["model"]["w"], rtol=1e-5)
    np.testing.assert_allclose(metrics_of_parts["loss"], metrics["loss"], rtol=1e-5)
    np.testing.assert_allclose(parts.carry.stats["model"]["sum"], whole.carry.stats["model"]["sum"], rtol=1e-5)
    assert float(parts.carry.memory["calls"]) == 3 * (4 + 100)
    with pytest.raises(ValueError, match="accumulate"):
        run(least_squares(), jv.train.adam(0.1), batches, accumulate=3)


@pytest.mark.parametrize("optimizer", [jv.train.adam(0.1), jv.train.sgd(0.1)], ids=["adam", "sgd"])
def test_a_nonfinite_update_changes_nothing_and_is_counted(optimizer):
    objective = least_squares(poison=9.0)
    good, bad = batch_of(), batch_of() | {"label": np.full(8, 9.0, np.float32)}
    state, _ = run(objective, optimizer, [good], ema=0.9)
    step = jax.jit(jv.train.make_step(objective, optimizer, ema=0.9))
    same, metrics = step(state, bad, KEY)
    for name in ("params", "carry", "opt_state", "ema", "sums"):
        jax.tree.map(np.testing.assert_array_equal, getattr(same, name), getattr(state, name))
    assert int(same.step) == 2 and same.skipped.tolist() == [1, 1] and int(metrics["skipped_in_row"]) == 1
    same, _ = step(same, bad, KEY)
    assert same.skipped.tolist() == [2, 2]
    moved, metrics = step(same, good, KEY)
    assert moved.skipped.tolist() == [2, 0] and int(metrics["skipped_in_row"]) == 0
    assert not np.array_equal(moved.params["model"]["w"], same.params["model"]["w"])


def test_a_nonfinite_gradient_of_a_finite_loss_is_skipped():
    def loss(params, carry, batch, *, key, step):
        return jnp.sum(jnp.sqrt(jnp.abs(params["model"]["w"]))), jv.Aux(carry, {})  # at zero: value 0, slope infinite

    state, _ = run(least_squares()._replace(loss=loss), jv.train.sgd(0.1), [batch_of()])
    assert state.skipped.tolist() == [1, 1] and np.all(state.params["model"]["w"] == 0)


def test_the_weight_average_follows_its_formula():
    batches = [batch_of(seed=seed) for seed in range(4)]
    for decay in (0.9, lambda step: 1 - 1 / (step + 2.0)):
        expected, sums, objective, optimizer = np.zeros(2), 0.0, least_squares(), jv.train.sgd(0.1)
        for count in range(1, 5):
            one = run(objective, optimizer, batches[:count])[0]
            now = decay(count - 1) if callable(decay) else decay
            expected = now * expected + (1 - now) * np.asarray(one.params["model"]["w"])
            sums = now * sums + (1 - now) * float(one.carry.stats["model"]["sum"])
        state, _ = run(objective, optimizer, batches, ema=decay)
        np.testing.assert_allclose(state.ema["params"]["model"]["w"], expected, rtol=1e-5)
        np.testing.assert_allclose(state.ema["stats"]["model"]["sum"], sums, rtol=1e-5)
        np.testing.assert_array_equal(jv.train.variables(state)["params"]["w"], state.ema["params"]["model"]["w"])


@pytest.mark.parametrize("optimizer", [jv.train.adam(0.1), jv.train.sgd(0.1)], ids=["adam", "sgd"])
def test_a_step_without_ema_keeps_the_state_s_average(optimizer):
    objective, batch = least_squares(), batch_of()
    state, _ = run(objective, optimizer, [batch], ema=0.9)
    after, _ = jax.jit(jv.train.make_step(objective, optimizer))(state, batch, KEY)
    jax.tree.map(np.testing.assert_array_equal, after.ema, state.ema)


def test_sums_add_up_over_an_epoch():
    batches = [batch_of(seed=seed) for seed in range(3)]
    losses = [run(least_squares(), jv.train.sgd(0.1), batches[:count])[1]["loss"] for count in (1, 2, 3)]
    state, _ = run(least_squares(), jv.train.sgd(0.1), batches)
    np.testing.assert_allclose(state.sums["loss"], sum(losses), rtol=1e-6)
    assert float(state.sums["updates"]) == 3 and set(state.sums) == {"loss", "error", "updates"}


def test_augmentation_draws_by_epoch_and_index_and_otherwise_by_step_and_position():
    seen = []

    def noise(key, image):
        return image + jax.random.normal(key, image.shape)

    def loss(params, carry, batch, *, key, step):
        jax.debug.callback(lambda image: seen.append(np.array(image)), batch["image"])
        return jnp.sum(params["model"]["w"]), jv.Aux(carry, {})

    objective, optimizer = least_squares()._replace(loss=loss), jv.train.sgd(0.0)
    image = {"image": np.zeros((2, 4, 4, 3), np.float32)}
    placed = [image | {"index": np.array(index, np.int32), "epoch": np.array(epoch, np.int32)} for index, epoch in
              (([5, 7], [0, 0]), ([7, 9], [0, 1]), ([5, 7], [1, 1]))]  # fmt: skip
    state = jv.train.init(objective, optimizer, image, key=KEY, augment=jv.augment.each(noise))
    step = jax.jit(jv.train.make_step(objective, optimizer, augment=jv.augment.each(noise)))
    for batch in [*placed, image, image]:
        state, _ = step(state, batch, KEY)
    jax.effects_barrier()
    first, second, third, fourth, fifth = seen
    np.testing.assert_array_equal(first[1], second[0])  # example 7 of epoch 0, wherever it stands
    for a, b in ((first[0], first[1]), (first[0], third[0]), (fourth[0], fourth[1]), (fourth[0], fifth[0])):
        assert not np.array_equal(a, b)


def test_a_step_is_traced_once():
    traces = []

    def loss(params, carry, batch, *, key, step):
        traces.append(1)
        return jnp.sum(params["model"]["w"]), jv.Aux(carry, {})

    objective, optimizer = least_squares()._replace(loss=loss), jv.train.sgd(optax.linear_schedule(0.1, 0.0, 10))
    state = jv.train.init(objective, optimizer, batch_of(), key=KEY)
    step = jv.train.compile_step(jv.train.make_step(objective, optimizer))
    traces.clear()
    for seed in range(4):
        state, _ = step(state, batch_of(seed=seed), KEY)
    assert len(traces) == 1


def test_given_parameters_start_the_state():
    state = jv.train.init(least_squares(), jv.train.sgd(0.1), batch_of(), key=KEY, given={"model": {"w": jnp.array([1.0, 2.0])}})
    np.testing.assert_array_equal(state.params["model"]["w"], [1.0, 2.0])


def test_an_unknown_module_is_refused_with_the_known_ones():
    state = jv.train.init(least_squares(), jv.train.sgd(0.1), batch_of(), key=KEY)
    assert set(jv.train.variables(state)) == {"params", "batch_stats"}
    with pytest.raises(ValueError, match="module.*model"):
        jv.train.variables(state, "teacher")


def test_a_nonfinite_teacher_is_counted_as_skipped():
    """A nan among the teacher's weights makes the loss nan: nothing is trained on targets that are none."""
    objective, optimizer = jv.objectives.byol(LeNet5("relu", num_classes=0), hidden=8, projection=4), jv.train.sgd(0.1)
    batch = {"views": np.random.default_rng(0).random((4, 2, 32, 32, 3), np.float32)}
    state = jv.train.init(objective, optimizer, batch, key=KEY)
    teacher = jax.tree.map(lambda leaf: leaf * jnp.nan, state.carry.memory["teacher"])
    broken = state._replace(carry=state.carry._replace(memory=state.carry.memory | {"teacher": teacher}))
    after, _ = jax.jit(jv.train.make_step(objective, optimizer))(broken, batch, KEY)
    assert after.skipped.tolist() == [1, 1]
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)

"""The supervised objective: losses, auxiliary heads, soft labels, dropout, batch statistics, warm start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxvision as jv
from tests.marks import slow

KEY = jax.random.key(0)


class TwoHeads(nn.Module):
    """A linear classifier with an auxiliary head, as GoogLeNet has them."""

    classes: int = 3

    @nn.compact
    def __call__(self, image, *, train=False):
        x = image.reshape(len(image), -1)  # [B, D]
        auxiliary = nn.Dense(self.classes, name="auxiliary_head")(x)
        if train:
            self.sow("auxiliary", "logits", auxiliary)
        return nn.Dense(self.classes, name="head")(x)


def test_a_probe_moves_nothing_but_the_head_running_statistics_included():
    """Two steps of the linear probe's recipe behind BatchNorm, as ``experiments.linear_probe`` puts it together."""
    model = jv.create_model("resnet20", num_classes=3)
    objective, optimizer = jv.objectives.supervised(model, frozen=True), jv.train.freeze(jv.train.momentum(0.1), train="head")
    image = np.random.default_rng(0).random((6, 32, 32, 3)).astype(np.float32)
    batch = {"image": image, "label": np.arange(6) % 3}
    state = jv.train.init(objective, optimizer, batch, key=KEY)
    before, step = jax.tree.map(np.array, state), jv.train.compile_step(jv.train.make_step(objective, optimizer), devices=jax.devices()[:1])
    for _ in range(2):
        state, _ = step(state, batch, KEY)
    assert before.carry.stats["model"]
    jax.tree.map(np.testing.assert_array_equal, state.carry.stats, before.carry.stats)
    after, params = state.params["model"], before.params["model"]
    for name in params:
        same = all(np.array_equal(new, old) for new, old in zip(jax.tree.leaves(after[name]), jax.tree.leaves(params[name]), strict=True))
        assert same == (name != "head"), name


def batch_of(count: int = 6) -> dict:
    image = np.random.default_rng(0).random((count, 4, 4, 1)).astype(np.float32)
    return {"image": image, "label": np.arange(count) % 3}


@pytest.mark.slow
def test_auxiliary_heads_add_three_tenths_of_their_loss_in_training_only():
    model, batch = TwoHeads(), batch_of()
    objective = jv.objectives.supervised(model)
    params, carry = jax.jit(objective.init)(KEY, batch)
    value, aux = objective.loss(params, carry, batch, key=KEY, step=0)
    logits, sown = model.apply({"params": params["model"]}, batch["image"], train=True, mutable="auxiliary")
    main = jv.losses.cross_entropy(logits, batch["label"])
    side = jv.losses.cross_entropy(sown["auxiliary"]["logits"][0], batch["label"])
    np.testing.assert_allclose(value, main + 0.3 * side, rtol=1e-6)
    np.testing.assert_allclose(aux.metrics["loss"], value)
    assert model.apply({"params": params["model"]}, batch["image"]).shape == (6, 3)
    grads = jax.grad(lambda params: objective.loss(params, carry, batch, key=KEY, step=0)[0])(params)
    assert np.any(np.asarray(grads["model"]["auxiliary_head"]["kernel"]))


def test_options_reach_the_loss_and_any_function_is_one():
    model, batch = TwoHeads(), batch_of()
    params, carry = jax.jit(jv.objectives.supervised(model).init)(KEY, batch)
    logits = model.apply({"params": params["model"]}, batch["image"])
    smoothed = jv.objectives.supervised(model, auxiliary_weight=0.0, label_smoothing=0.2)
    value, _ = smoothed.loss(params, carry, batch, key=KEY, step=0)
    np.testing.assert_allclose(value, jv.losses.cross_entropy(logits, batch["label"], label_smoothing=0.2), rtol=1e-6)
    mine = jv.objectives.supervised(model, loss=lambda logits, labels: jnp.mean(logits[:, 0] * labels), auxiliary_weight=0.0)
    value, aux = mine.loss(params, carry, batch, key=KEY, step=0)
    np.testing.assert_allclose(value, jnp.mean(logits[:, 0] * batch["label"]), rtol=1e-6)
    assert "top1" in aux.metrics


@pytest.mark.parametrize("count", [slow(1), 5, slow(6)])
def test_soft_labels_from_mixup_and_cutmix_at_any_batch_size(count):
    model = TwoHeads()
    objective, batch = jv.objectives.supervised(model), batch_of(count)
    mixed = jv.augment.chain(jv.augment.mixup(num_classes=3), jv.augment.cutmix(num_classes=3))(KEY, jax.tree.map(jnp.asarray, batch))
    params, carry = jax.jit(objective.init)(KEY, mixed)
    value, aux = objective.loss(params, carry, mixed, key=KEY, step=0)
    assert np.isfinite(value) and 0 <= float(aux.metrics["top1"]) <= 1


def test_several_labels_at_once_are_measured_by_mean_average_precision():
    batch = batch_of() | {"label": np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]] + np.eye(3, dtype=np.float32)[[1, 1, 0, 2, 0, 2]] > 0}
    batch["label"] = batch["label"].astype(np.float32)
    objective = jv.objectives.supervised(TwoHeads(), loss=jv.losses.binary_cross_entropy)
    params, carry = jax.jit(objective.init)(KEY, batch)
    _, aux = objective.loss(params, carry, batch, key=KEY, step=0)
    logits = TwoHeads().apply({"params": params["model"]}, batch["image"])
    np.testing.assert_allclose(aux.metrics["map"], jv.losses.mean_average_precision(logits, batch["label"]))
    assert "top1" not in aux.metrics


def test_batch_statistics_move_and_dropout_draws_anew_each_key():
    from jaxvision.models.resnet import ResNet

    model = ResNet((1,), False, num_classes=3, stem_kind="cifar", drop_rate=0.5)
    batch = batch_of() | {"image": np.random.default_rng(0).random((6, 8, 8, 3)).astype(np.float32)}
    objective = jv.objectives.supervised(model)
    params, carry = jax.jit(objective.init)(KEY, batch)
    loss = jax.jit(objective.loss)
    first, aux = loss(params, carry, batch, key=KEY, step=0)
    again, _ = loss(params, carry, batch, key=KEY, step=0)
    other, _ = loss(params, carry, batch, key=jax.random.key(9), step=0)
    assert float(first) == float(again) != float(other)
    assert jax.tree.structure(aux.carry) == jax.tree.structure(carry)
    assert not np.array_equal(aux.carry.stats["model"]["stem"]["norm"]["mean"], carry.stats["model"]["stem"]["norm"]["mean"])


def test_warm_start_reuses_what_is_given_and_names_what_does_not_fit():
    objective, batch = jv.objectives.supervised(TwoHeads()), batch_of()
    params, _ = jax.jit(objective.init)(KEY, batch)
    backbone = {"auxiliary_head": jax.tree.map(lambda leaf: leaf + 1, params["model"]["auxiliary_head"])}
    warm, _ = jax.jit(objective.init)(jax.random.key(5), batch, {"model": backbone})
    np.testing.assert_array_equal(warm["model"]["auxiliary_head"]["kernel"], backbone["auxiliary_head"]["kernel"])
    assert not np.array_equal(warm["model"]["head"]["kernel"], params["model"]["head"]["kernel"])
    for given, name in (
        ({"modell": {}}, "modell"),
        ({"model": {"neck": {}}}, "model/neck"),
        ({"model": {"head": {"kernel": np.zeros((2, 2))}}}, "model/head/kernel"),
    ):
        with pytest.raises(ValueError, match=name):
            objective.init(KEY, batch, given)


def test_a_missing_key_is_named():
    objective = jv.objectives.supervised(TwoHeads())
    with pytest.raises(ValueError, match="label"):
        objective.init(KEY, {"image": batch_of()["image"]})

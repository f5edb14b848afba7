"""Rematerialisation: the same numbers, less memory, and an error for an unknown name."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

import jaxvision as jv
from tests.marks import slow

MODELS = {
    "vit": jv.create_model("vit_tiny_patch16_224", image_size=32, patch_size=16, num_classes=4).clone(width=24, depth=2, heads=2),
    "resnet": jv.create_model("resnet20", num_classes=4),
}
BATCH = {"image": np.random.default_rng(0).random((8, 32, 32, 3), np.float32), "label": np.arange(8) % 4}
KEY = jax.random.key(0)


class Named(nn.Module):
    """A classifier with one hidden layer, whose activations have the name ``hidden``."""

    num_classes: int = 4

    @nn.compact
    def __call__(self, image, *, train=False):
        hidden = checkpoint_name(nn.tanh(nn.Dense(8, name="stem")(image.reshape(len(image), -1))), "hidden")
        return nn.Dense(self.num_classes, name="head")(hidden)


def begun(model, **options):
    """(state, step) of a supervised run."""
    objective, optimizer = jv.objectives.supervised(model), jv.train.sgd(0.1)
    return jv.train.init(objective, optimizer, BATCH, key=KEY), jv.train.make_step(objective, optimizer, **options)


OTHER_CHOICES = (("vit", ("attention", "hidden")), ("resnet", ("shortcut",)), ("vit", ()))


@pytest.mark.parametrize(("name", "remat"), [("vit", ("shortcut",)), *(slow(*row) for row in OTHER_CHOICES)])
@pytest.mark.parametrize("options", [{}, slow({"accumulate": 2})], ids=["whole", "accumulated"])
def test_a_step_is_the_same_step(name, remat, options):
    state, plain = begun(MODELS[name], **options)
    _, light = begun(MODELS[name], remat=remat, **options)
    expected, metrics = jax.jit(plain)(state, BATCH, KEY)
    found, metrics_found = jax.jit(light)(state, BATCH, KEY)
    assert float(metrics["loss"]) == pytest.approx(float(metrics_found["loss"]), rel=1e-5)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_two_devices_are_one():
    state, step = begun(MODELS["vit"], remat=("shortcut",))
    single = jv.train.compile_step(step, devices=jax.devices()[:1])(jax.tree.map(jnp.copy, state), BATCH, KEY)[1]
    double = jv.train.compile_step(step, driver="shard_map", devices=jax.devices()[:2])(state, BATCH, KEY)[1]
    assert float(single["gradient_norm"]) == pytest.approx(float(double["gradient_norm"]), rel=1e-5)


def test_rematerialised_values_take_no_memory():
    deep, many = MODELS["vit"].clone(depth=6, patch_size=4), {name: np.repeat(values, 8, axis=0) for name, values in BATCH.items()}

    objective = jv.objectives.supervised(deep)
    state = jax.eval_shape(lambda: begun(deep)[0])

    def memory(loss) -> int:
        """Bytes kept for the backward pass, parameters and images included."""
        backward = jax.eval_shape(lambda: jax.vjp(lambda params: loss(params, state.carry, many, key=KEY, step=0)[0], state.params)[1])
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))

    light, less = (jv.train.rematerialized(objective.loss, names) for names in (("shortcut",), ("shortcut", "attention", "hidden")))
    assert memory(light) < 0.3 * memory(objective.loss)
    assert memory(light) < memory(less) < 0.7 * memory(objective.loss)


def test_an_unknown_name_is_refused_with_the_known_ones():
    state, step = begun(MODELS["vit"], remat=("shortcuts",))
    with pytest.raises(ValueError, match="remat.*attention, hidden, shortcut"):
        step(state, BATCH, KEY)


def test_a_string_is_refused_in_place_of_a_tuple():
    with pytest.raises(ValueError, match="remat"):
        begun(MODELS["vit"], remat="shortcut")


def test_names_given_by_checkpoint_name_count():
    def loss(params, carry, batch, *, key, step):
        hidden = checkpoint_name(jnp.sin(batch["image"].reshape(8, -1) @ params["w"]), "mine")
        return jnp.mean(jnp.sin(hidden)), jv.Aux(carry, {})

    light = jv.train.rematerialized(loss, ("mine",))
    params = {"w": np.random.default_rng(1).random((32 * 32 * 3, 4), np.float32)}
    slope = lambda function: jax.grad(lambda params: function(params, None, BATCH, key=KEY, step=0)[0])(params)["w"]  # noqa: E731
    np.testing.assert_allclose(slope(light), slope(loss), rtol=1e-5, atol=1e-7)


def test_a_run_records_remat_and_resumes_with_another_choice(tmp_path):
    source = jv.data.arrays(np.uint8(255 * BATCH["image"]), BATCH["label"])
    model = Named()
    sizes, options = {"epochs": 3, "batch_size": 8}, jv.train.RunOptions(save_every=1, guard=False)
    experiment = jv.train.Experiment(model, jv.objectives.supervised(model), jv.train.sgd(0.1), source, test=source, **sizes)

    def stop(infer, source):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        light = dataclasses.replace(options, remat=("hidden",))
        jv.train.run(dataclasses.replace(experiment, evaluate=stop), tmp_path / "part", light)
    assert json.loads((tmp_path / "part" / "config.json").read_text())["options"]["remat"] == ["hidden"]
    resumed, whole = (jv.train.run(experiment, tmp_path / name, options) for name in ("part", "whole"))
    assert int(resumed.step) == 3
    for one, other in zip(jax.tree.leaves(resumed.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)

"""A ViT whose blocks are one program is the same ViT."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from tests.marks import slow

SMALL = {"image_size": 32, "patch_size": 8, "num_classes": 5}
IMAGE = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)


def networks(name: str = "vit_tiny_patch16_224", *, depth: int = 2, **options) -> tuple:
    """(blocks one by one, blocks as one program, parameters of either)."""
    plain, scanned = (jv.create_model(name, **SMALL, **options, scan=scan).clone(width=24, heads=3, depth=depth) for scan in (False, True))
    params = jax.jit(scanned.init)(jax.random.key(0), IMAGE)["params"]
    kinds = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), (params, jax.eval_shape(plain.init, jax.random.key(0), IMAGE)["params"]))
    assert kinds[0] == kinds[1]
    return plain, scanned, params


def count(program) -> int:
    """Equations, those of inner programs once."""
    inner = (value for equation in program.eqns for value in jax.tree.leaves(equation.params, is_leaf=lambda one: hasattr(one, "eqns")))
    return len(program.eqns) + sum(count(one) for one in inner if hasattr(one, "eqns"))


@pytest.mark.parametrize(
    "name",
    [
        "deit_tiny_distilled_patch16_224",
        *(slow(name) for name in ("vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2")),
    ],
)
def test_logits_features_and_gradients_are_the_same(name):
    plain, scanned, params = networks(name)
    results = []
    for network in (plain, scanned):

        @jax.jit
        def run(params, network=network):
            loss = lambda params: jnp.sum(jnp.sin(network.apply({"params": params}, IMAGE, train=False)))  # noqa: E731
            features = network.apply({"params": params}, IMAGE, keep=jnp.array([[0, 3, 5]] * 3), method="features")
            return loss(params), features.tokens, jax.grad(loss)(params)

        results.append(run(params))
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * max(1, np.abs(one).max()))


def test_the_program_does_not_grow_with_the_depth():
    plain, scanned, params = networks(depth=4)
    whole, once = (count(jax.make_jaxpr(partial(network.apply, image=IMAGE))({"params": params}).jaxpr) for network in (plain, scanned))
    assert once < 0.6 * whole


@pytest.mark.slow
def test_recording_a_scanned_network_records_every_block():
    plain, scanned, params = networks()
    for ask in (jv.models.class_attention, jv.models.intermediate_tokens):
        found, expected = (jax.tree.leaves(ask(network, {"params": params}, IMAGE)) for network in (scanned, plain))
        assert len(found) == len(expected) > 0
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    reports = [jv.report(network, image_shape=(32, 32, 3)) for network in (scanned, plain)]
    assert str(reports[0]) == str(reports[1]) and reports[0].params == sum(leaf.size for leaf in jax.tree.leaves(params))


def test_weights_and_run_folders_know_no_difference():
    plain, scanned, params = networks("vit_small_patch16_224")
    assert repr(plain) == repr(scanned)
    tensors = jv.weights.to_torch(scanned, {"params": params}, layout="torchvision")
    for one, other in zip(*(jax.tree.leaves(jv.weights.from_torch(network, tensors)) for network in (plain, scanned)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_half_precision_is_the_same():
    plain, scanned, params = networks(dtype="bfloat16")
    one, other = (jax.jit(network.apply)({"params": params}, IMAGE) for network in (plain, scanned))
    np.testing.assert_allclose(one, other, atol=0.02 * float(jnp.abs(one).max()))


@pytest.mark.slow
def test_values_named_within_the_program_are_kept_by_name():
    plain, scanned, _ = networks()
    batch, optimizer = {"image": IMAGE, "label": np.arange(3)}, jv.train.sgd(0.1)
    found = []
    for network, remat in ((plain, None), (scanned, ("shortcut",))):
        objective = jv.objectives.supervised(network)
        state = jv.train.init(objective, optimizer, batch, key=jax.random.key(0))
        found.append(jax.jit(jv.train.make_step(objective, optimizer, remat=remat))(state, batch, jax.random.key(0))[1]["gradient_norm"])
    assert float(found[0]) == pytest.approx(float(found[1]), rel=1e-4)


def test_blocks_that_drop_paths_are_not_equal():
    with pytest.raises(ValueError, match="^scan:"):
        jv.create_model("vit_tiny_patch16_224", scan=True, drop_path_rate=0.1).init(jax.random.key(0), jnp.zeros((1, 224, 224, 3)))

"""A ViT's last block computes only the tokens that are used: the same numbers for less work."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from tests.marks import slow
from tests.objectives.test_views import SMALL
from tests.summary.test_report import products_of

SIZES = {"image_size": 32, "patch_size": 8}
IMAGE = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
WIDTH, TOKENS = 24, 17
FORMS = {
    "token": ("vit_tiny_patch16_224", {}, 1),
    "two tokens": ("deit_tiny_distilled_patch16_224", {}, 2),
    "registers": ("vit_small_patch14_reg4_dinov2", {}, 1),
    "paths dropped": ("vit_tiny_patch16_224", {"drop_path_rate": 0.5}, 1),
    "mean": ("vit_tiny_patch16_224", {"pool": "mean"}, None),
}


def network(form: str, num_classes: int = 0):
    """(a small network, parameters of the size of one)."""
    name, options, _ = FORMS[form]
    model = jv.create_model(name, **SIZES, num_classes=num_classes, **options).clone(width=WIDTH, heads=3, depth=2)
    shapes = jax.eval_shape(model.init, jax.random.key(0), IMAGE)["params"]
    generator = np.random.default_rng(1)
    return model, jax.tree.map(lambda leaf: np.float32((leaf.ndim == 1) + 0.3 * generator.standard_normal(leaf.shape)), shapes)


def products(model, params, **options) -> int:
    return products_of(jax.make_jaxpr(partial(model.apply, **options))({"params": params}, IMAGE).jaxpr)


@pytest.fixture
def plain(monkeypatch):
    """Products that can be counted: no compiled kernel."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


@pytest.mark.parametrize("form", ["two tokens", "mean", *map(slow, ("token", "registers", "paths dropped"))])
def test_pooled_features_and_their_gradients_are_those_of_all_features(form):
    model, params = network(form)
    rngs = {"dropout": jax.random.key(2)}

    def alone(params):
        return model.apply({"params": params}, IMAGE, train=True, rngs=rngs, method="pooled")

    def of_all(params):
        return model.apply({"params": params}, IMAGE, train=True, rngs=rngs, method="features").pooled

    @partial(jax.jit, static_argnums=0)
    def with_gradient(function, params):
        value, back = jax.vjp(function, params)
        return value, back(jnp.cos(value))

    results = [with_gradient(function, params) for function in (alone, of_all)]
    for ours, theirs in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * max(1, np.abs(theirs).max()))
    evaluated = jax.jit(partial(model.apply, method="features"))({"params": params}, IMAGE).pooled
    np.testing.assert_allclose(jax.jit(model.apply)({"params": params}, IMAGE), evaluated, atol=2e-5)


@pytest.mark.parametrize("form", FORMS)
def test_the_last_block_computes_only_the_tokens_that_are_used(form, plain):
    model, params = network(form, num_classes=5)
    read, tokens = FORMS[form][2], TOKENS - 1 + jv.models.vit.Form(*model.form).prefix
    queries, kept_and_mlp = WIDTH**2, WIDTH**2 + 8 * WIDTH**2  # of a token: its query; its way out of attention and through the perceptron
    mixed = 2 * tokens * WIDTH
    spared = 0 if read is None else len(IMAGE) * (tokens - read) * (queries + mixed + kept_and_mlp)
    assert products(model, params) == products(model, params, mutable="intermediates") - spared


def test_recording_tokens_records_all_of_them():
    model, params = network("token", num_classes=5)
    logits, seen = model.apply({"params": params}, IMAGE, mutable=["attention", "tokens"])
    assert seen["tokens"]["block2"]["output"].shape == (2, TOKENS, WIDTH)
    assert seen["attention"]["block2"]["attention"]["weights"].shape == (2, 3, TOKENS, TOKENS)
    np.testing.assert_allclose(logits, model.apply({"params": params}, IMAGE), atol=2e-5)


@pytest.mark.parametrize("method", SMALL)
def test_objectives_that_use_pooled_features_compute_only_these(method, plain):
    model, _ = network("token")
    views = np.random.default_rng(3).random((2, 2, 32, 32, 3), np.float32)
    batch = {"views": views}

    def cost(encoder) -> int:
        objective = SMALL[method](encoder)
        params, carry = jax.eval_shape(objective.init, jax.random.key(0), batch)
        loss = partial(objective.loss, key=jax.random.key(0), step=0)
        return products_of(jax.make_jaxpr(loss)(params, carry, batch).jaxpr)

    class Whole(type(model)):
        """The same without a method for pooled features alone."""

        pooled = None

        def __call__(self, image, *, train=False):
            return self.features(image, train=train).pooled

    assert cost(model) < cost(Whole(**fields_of(model)))


def fields_of(model) -> dict:
    return {name: getattr(model, name) for name in type(model).__dataclass_fields__ if name not in ("parent", "name")}


def test_features_of_a_subclass_are_used_everywhere():
    model, params = network("token")

    class Reversed(type(model)):
        """The features in reverse order."""

        def features(self, image, **options):
            found = super().features(image, **options)
            return found._replace(pooled=found.pooled[:, ::-1])

    changed, batch = Reversed(**fields_of(model)), {"views": np.stack([IMAGE, 1 - IMAGE], axis=1)}
    np.testing.assert_allclose(changed.apply({"params": params}, IMAGE), model.apply({"params": params}, IMAGE)[:, ::-1], atol=1e-4)
    objectives = [jv.objectives.simclr(encoder, projection=8) for encoder in (changed, model)]
    start, carry = jax.jit(objectives[1].init)(jax.random.key(0), batch, {"encoder": params})
    kernel = start["projector"]["dense1"]["kernel"]
    turned = start | {"projector": start["projector"] | {"dense1": {"kernel": kernel[::-1]}}}
    options = {"key": jax.random.key(0), "step": 0}
    of_changed, of_model = (jax.jit(partial(objective.loss, **options)) for objective in objectives)
    loss, expected, other = (form(*given, carry, batch)[0] for form, *given in ((of_changed, start), (of_model, turned), (of_model, start)))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    assert abs(loss - other) > 1e-2


def test_the_last_block_of_maes_decoder_omits_visible_patches(plain):
    """Queries, what they mix, the way out, the perceptron and the prediction, of the class token and four of sixteen patches an image."""
    encoder, width = network("token")[0], 16

    def cost(depth: int) -> int:
        objective = jv.objectives.mae(encoder, depth=depth, width=width, heads=2)
        params, carry = jax.eval_shape(objective.init, jax.random.key(0), {"image": IMAGE})
        loss = partial(objective.loss, key=jax.random.key(0), step=0)
        return products_of(jax.make_jaxpr(loss)(params, carry, {"image": IMAGE}).jaxpr)

    whole = len(IMAGE) * TOKENS * (12 * width**2 + 2 * TOKENS * width)
    assert cost(2) - cost(1) == whole  # a block that is not the last
    encoded = products(*network("token"), keep=jnp.zeros((2, 4), int), method="features")
    spared = len(IMAGE) * 5 * (10 * width**2 + 2 * TOKENS * width)
    between = len(IMAGE) * 5 * WIDTH * width + len(IMAGE) * 12 * width * 8 * 8 * 3  # into the decoder, out of it
    assert cost(1) == encoded + between + whole - spared

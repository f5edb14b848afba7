"""Tokens behind every block and the class token's attention on request, and another classifier on the same network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.models import class_attention, intermediate_tokens, replace_classifier
from tests.marks import slow, split
from tests.models.rows import KINDS
from tests.models.test_contract import KEY, SMALL, drawn, small

NO_TIMM = "timm is not installed: parity with it is NOT checked here"


def vit(name: str = "vit_tiny_patch16_224", depth: int = 3, **options):
    model = jv.create_model(name, image_size=16, patch_size=8, num_classes=0, **options).clone(depth=depth)
    image = jax.random.normal(KEY, (2, 16, 24, 3))
    return model, drawn(model, image), image


def test_the_last_tokens_of_a_vit_are_its_features():
    model, variables, image = vit()
    tokens = jax.jit(functools.partial(intermediate_tokens, model))(variables, image)
    assert list(tokens) == ["block1", "block2", "block3"] and tokens["block1"].shape == (2, 7, 192)
    found = model.apply(variables, image, method="features")
    normed = model.bind(variables).norm(tokens["block3"])
    np.testing.assert_allclose(normed[:, 1:], found.tokens, atol=1e-5)
    shorter = {"params": {name: leaf for name, leaf in variables["params"].items() if name != "block3"}}
    np.testing.assert_allclose(intermediate_tokens(model.clone(depth=2), shorter, image)["block2"], tokens["block2"], atol=1e-5)


def test_intermediate_tokens_are_timms():
    timm, torch = (pytest.importorskip(name, reason=NO_TIMM) for name in ("timm", "torch"))
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, depth=3).eval()
    model = jv.create_model("vit_tiny_patch16_224", num_classes=0, image_size=32).clone(depth=3)
    variables = jv.weights.from_torch(model, {name: tensor.numpy() for name, tensor in network.state_dict().items()}, layout="timm")
    image = np.random.default_rng(0).standard_normal((1, 32, 32, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = network.forward_intermediates(torch.tensor(image).permute(0, 3, 1, 2), output_fmt="NLC", intermediates_only=True)
    ours = intermediate_tokens(model, variables, image)
    for block, wanted in zip(ours.values(), theirs, strict=True):
        np.testing.assert_allclose(block[:, 1:], wanted.numpy(), atol=1e-4)


@pytest.mark.parametrize(("name", "prefix"), [("vit_tiny_patch16_224", 1), ("vit_small_patch14_reg4_dinov2", 5)])
def test_class_attention_is_the_softmax_of_the_class_tokens_query(name, prefix):
    model, variables, image = vit(name, depth=2)
    found = jax.jit(functools.partial(class_attention, model))(variables, image)
    heads = model.heads
    assert found.shape == (2, 2, heads, 2, 3)
    tokens = intermediate_tokens(model, variables, image)["block1"]
    block = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"]["block2"])
    tokens = np.asarray(tokens, np.float64)
    normed = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(tokens.var(-1, keepdims=True) + 1e-6)
    joint = (normed * block["norm1"]["scale"] + block["norm1"]["bias"]) @ block["attention"]["qkv"]["kernel"] + block["attention"]["qkv"][
        "bias"
    ]
    query, key, _ = np.split(joint.reshape(2, tokens.shape[1], 3 * heads, -1), 3, axis=2)
    scores = np.einsum("bhd,bmhd->bhm", query[:, 0], key) / np.sqrt(key.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    np.testing.assert_allclose(found[:, 1].reshape(2, heads, 6), weights[..., prefix:], atol=1e-5)


def test_swin_and_mixer_record_their_tokens_and_swin_its_windows():
    for name, last, shape in (("swin_tiny_patch4_window7_224", "stage4/block1", (2, 1, 2, 768)), ("mixer_s32_224", "block2", (2, 16, 512))):
        model, variables, image = small(name)
        tokens = jax.eval_shape(functools.partial(intermediate_tokens, model), variables, image)
        assert list(tokens)[-1] == last and tokens[last].shape == shape
    model, variables, image = small("swin_tiny_patch4_window7_224")
    _, seen = jax.eval_shape(functools.partial(model.apply, mutable=["attention"]), variables, image)
    assert seen["attention"]["stage1"]["block1"]["attention"]["weights"].shape == (8, 3, 49, 49)  # 2 images of 2 x 2 windows


def test_nothing_is_recorded_by_default():
    model, variables, image = small("vit_tiny_patch16_224")
    assert set(variables) == {"params"}
    _, sown = jax.eval_shape(functools.partial(model.apply, mutable=["batch_stats", "auxiliary"]), variables, image)
    assert not jax.tree.leaves(sown)


def test_networks_without_tokens_say_so():
    model, variables, image = small("resnet18")
    with pytest.raises(ValueError, match="^model:"):
        jax.eval_shape(functools.partial(intermediate_tokens, model), variables, image)
    with pytest.raises(ValueError, match="^model:"):
        class_attention(model, variables, image)


@pytest.mark.parametrize("name", split(SMALL, KINDS - {"mobilenet_v3_small"}))
def test_every_classifier_can_be_replaced_or_added(name):
    """The new tree is that of a model made with the new count."""
    for count in (5, 0):
        model, variables, image = small(name, num_classes=count)
        found = jax.eval_shape(
            lambda variables: replace_classifier(model, variables, 3, key=KEY, image=jnp.zeros(image.shape))[1], variables
        )
        assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, small(name, num_classes=3)[1])


def leaves(tree) -> dict:
    return {tuple(key.key for key in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.parametrize(("name", "width"), [("resnet20", 64), slow("googlenet", 1024)])
def test_replacing_keeps_everything_else(name, width):
    model = jv.create_model(name, num_classes=5)
    image = jnp.zeros((1, 65, 65, 3))
    variables = drawn(model, image)
    other, moved = replace_classifier(model, variables, 3, key=KEY, image=image)
    assert other.num_classes == 3 and jax.eval_shape(other.apply, moved, image).shape == (1, 3)
    before = leaves(variables)
    for path, leaf in leaves(moved).items():
        assert leaf.shape[-1] == 3 if "head" in path else leaf is before[path]
    encoder, headless = replace_classifier(model, variables, 0, key=KEY, image=image)
    assert "head" not in headless["params"] and jax.eval_shape(encoder.apply, headless, image).shape == (1, width)
    for number in (-1, "3", True):
        with pytest.raises(ValueError, match="^num_classes:"):
            replace_classifier(model, variables, number, key=KEY, image=image)
    with pytest.raises(ValueError, match="^variables:"):
        replace_classifier(model, {"params": {}}, 3, key=KEY, image=image)

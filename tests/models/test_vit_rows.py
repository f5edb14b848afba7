"""DeiT's and DINOv2's Vision Transformers: timm's numbers, tokens and heads."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.models.vit import MODELS
from tests.marks import slow, split
from tests.models.rows import FAMILIES
from tests.models.test_contract import count, drawn
from tests.oracles.parity import arrays, check_logits, check_training, difference, first, image_of, randomised, torch

timm = pytest.importorskip("timm", reason="timm is not installed: parity with it is NOT checked here")
COUNTS = {
    "deit_tiny_distilled_patch16_224": 5_910_800,
    "deit_small_distilled_patch16_224": 22_436_432,
    "deit_base_distilled_patch16_224": 87_338_192,
    "deit_base_distilled_patch16_384": 87_630_032,
    "vit_small_patch14_dinov2": 22_441_192,
    "vit_base_patch14_dinov2": 87_348_712,
    "vit_large_patch14_dinov2": 305_392_616,
    "vit_giant_patch14_dinov2": 1_138_016_232,
    "vit_small_patch14_reg4_dinov2": 22_442_344,
    "vit_base_patch14_reg4_dinov2": 87_351_016,
    "vit_large_patch14_reg4_dinov2": 305_395_688,
    "vit_giant_patch14_reg4_dinov2": 1_138_020_840,
}


def small(name: str, num_classes: int, *, width: int = 96, depth: int = 2):
    """Two blocks for images of 4 x 4 patches, ours and timm's."""
    patch = MODELS[name][1]
    model = jv.create_model(name, num_classes=num_classes, image_size=4 * patch).clone(depth=depth, width=width, heads=3)
    options = {"img_size": 4 * patch, "dynamic_img_size": True, "embed_dim": width, "num_heads": 3, "depth": depth}
    return model, timm.create_model(name, num_classes=num_classes, **options)


@pytest.mark.parametrize("name", split(COUNTS, FAMILIES | {"vit_small_patch14_reg4_dinov2"}))
def test_parameters_are_counted_exactly(name):
    model = jv.create_model(name)
    image = jax.ShapeDtypeStruct((1, model.patch_size, model.patch_size, 3), jnp.float32)
    assert count(jax.eval_shape(model.init, jax.random.key(0), image)["params"]) == COUNTS[name]


ROWS = ["deit_tiny_distilled_patch16_224", "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_giant_patch14_reg4_dinov2"]


@pytest.mark.parametrize("name", [ROWS[0], *map(slow, ROWS[1:])])
def test_logits_at_its_own_and_another_size(name):
    model, network = small(name, 11)
    for rows, columns in ((4, 4), (5, 3)):
        check_logits(model, network, size=(rows * model.patch_size, columns * model.patch_size), layout="timm", double=rows == columns)


@pytest.mark.parametrize("name", split(["vit_tiny_patch16_224", "vit_giant_patch14_reg4_dinov2"], FAMILIES))
def test_training(name):
    model, network = small(name, 3, width=24, depth=1)
    check_training(model, network, size=(4 * model.patch_size,) * 2, layout="timm")


def test_deits_heads_are_apart_in_training():
    model, network = small(ROWS[0], 5)
    network = randomised(network).train()
    network.set_distilled_training()
    image = image_of(2, 64, 64, 3)
    variables = jv.weights.from_torch(model, arrays(network), layout="timm")
    assert set(variables) == {"params"} and set(variables["params"]["head"]) == {"token", "distillation"}
    ours, sown = model.apply(variables, image, train=True, mutable=["auxiliary"])
    with torch.no_grad():
        token, distillation = network(first(image))
    assert difference(ours, token) <= 1e-4
    assert difference(sown["auxiliary"]["head"]["logits"][0], distillation) <= 1e-4
    encoder = model.clone(num_classes=0)
    with torch.no_grad():
        pooled = network.eval().forward_head(network.forward_features(first(image)), pre_logits=True)
    assert difference(encoder.apply(jv.models.drop_head(variables), image), pooled) <= 1e-4


def test_registers_are_no_patches():
    model, _ = small("vit_small_patch14_reg4_dinov2", 0)
    image = image_of(2, 56, 56, 3)
    variables = drawn(model, image)
    assert variables["params"]["stem"]["position"].shape == (16, 96) and variables["params"]["stem"]["registers"].shape == (4, 96)
    keep = np.array([[3, 1], [0, 9]])
    features = functools.partial(jax.eval_shape, functools.partial(model.apply, method="features"))
    assert features(variables, image).tokens.shape == (2, 16, 96)
    assert features(variables, image, keep=keep).tokens.shape == (2, 2, 96)


def test_deit_has_no_mean_pooling():
    with pytest.raises(ValueError, match="^pool:"):
        jv.create_model("deit_tiny_distilled_patch16_224", pool="mean")

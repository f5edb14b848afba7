"""MLP-Mixer and gMLP: timm's numbers."""

import jax
import jax.numpy as jnp
import pytest

import jaxvision as jv
from jaxvision.models.mixer import MODELS
from tests.marks import split
from tests.models.rows import FAMILIES
from tests.models.test_contract import count
from tests.oracles.parity import check_logits, check_training

timm = pytest.importorskip("timm", reason="timm is not installed: parity with it is NOT checked here")
COUNTS = {
    "mixer_s32_224": 19_104_624,
    "mixer_s16_224": 18_528_264,
    "mixer_b32_224": 60_293_428,
    "mixer_b16_224": 59_880_472,
    "mixer_l32_224": 206_939_264,
    "mixer_l16_224": 208_196_168,
    "gmlp_ti16_224": 5_867_328,
    "gmlp_s16_224": 19_422_656,
    "gmlp_b16_224": 73_075_392,
}


def small(name: str, width: int, num_classes: int):
    """Two blocks of a family for images of 64 x 64, ours and timm's."""
    from timm.layers import GatedMlp
    from timm.models.mlp_mixer import MlpMixer, SpatialGatingBlock

    gated = {"mlp_ratio": 6, "block_layer": SpatialGatingBlock, "mlp_layer": GatedMlp} if "gmlp" in name else {}
    network = MlpMixer(num_classes, img_size=64, patch_size=16, num_blocks=2, embed_dim=width, **gated)
    return jv.create_model(name, num_classes=num_classes, image_size=64).clone(width=width, depth=2), network


@pytest.mark.parametrize("name", split(MODELS, FAMILIES))
def test_parameters_are_counted_exactly(name):
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    assert count(jax.eval_shape(jv.create_model(name).init, jax.random.key(0), image)["params"]) == COUNTS[name]


@pytest.mark.parametrize("name", ["mixer_s16_224", "gmlp_s16_224"])
def test_timms_logits(name):
    check_logits(*small(name, 48, 11), size=(64, 64), layout="timm", double=True)


@pytest.mark.parametrize("name", ["mixer_s16_224", "gmlp_s16_224"])
def test_training(name):
    check_training(*small(name, 16, 3), size=(64, 64), layout="timm")


def test_other_image_and_patch_sizes_are_refused():
    model = jv.create_model("mixer_s16_224", image_size=32)
    with pytest.raises(ValueError, match="^image:"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 32, 3)))
    with pytest.raises(ValueError, match="^patch_size:"):
        jv.create_model("mixer_s16_224", image_size=32, patch_size=5)

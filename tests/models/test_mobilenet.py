"""MobileNet v1, v2, v3: torchvision's and timm's numbers, and where the maps are."""

import functools

import jax
import jax.numpy as jnp
import pytest

import jaxvision as jv
from jaxvision.models.mobilenet import Block
from tests.marks import slow
from tests.oracles.parity import check_logits, check_training

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
timm = pytest.importorskip("timm", reason="timm is not installed: parity with it is NOT checked here")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "gain"), [("mobilenet_v2", 1.2), ("mobilenet_v3_small", 2.0), ("mobilenet_v3_large", 1.4)])
def test_logits(name, gain):
    check_logits(jv.create_model(name, num_classes=11), getattr(torchvision.models, name)(num_classes=11), size=(33, 45), gain=gain)


@pytest.mark.parametrize(("name", "gain"), [("mobilenetv1_100", 2.0), slow("mobilenetv2_100", 1.2)])
def test_timms_logits(name, gain):
    check_logits(jv.create_model(name, num_classes=11), timm.create_model(name, num_classes=11), size=(33, 45), layout="timm", gain=gain)


def small_third(num_classes: int):
    """torchvision's third version with four blocks, and ours."""
    from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3

    # channels in, kernel size, hidden, channels out, squeeze-and-excitation, activation, stride
    rows = ((8, 3, 8, 8, True, "RE", 2), (8, 3, 24, 16, False, "RE", 2), (16, 5, 32, 16, True, "HS", 1), (16, 5, 32, 24, True, "HS", 2))
    network = MobileNetV3([InvertedResidualConfig(*row, 1, 1) for row in rows], 32, num_classes, dropout=0.0)
    names = {"RE": "relu", "HS": "hard_swish"}
    blocks = tuple(Block(size, hidden, out, 8 * gated, names[kind], stride) for _, size, hidden, out, gated, kind, stride in rows)
    sizes = {"blocks": blocks, "stem_width": 8, "last_width": 6 * 24, "dense_width": 32}
    return jv.create_model("mobilenet_v3_small", num_classes=num_classes, drop_rate=0.0).clone(**sizes), network


def test_small_forms_logits():
    check_logits(*small_third(11), size=(33, 45), double=True)


@pytest.mark.slow
def test_training():
    check_training(*small_third(3), size=(65, 65))


@pytest.mark.slow
def test_training_of_a_whole_network():
    network = torchvision.models.mobilenet_v3_small(num_classes=3, dropout=0.0)
    check_training(jv.create_model("mobilenet_v3_small", num_classes=3, drop_rate=0.0), network, size=(65, 65))


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("mobilenetv1_100", (128, 256, 512, 1024)),
        ("mobilenet_v2", (24, 32, 96, 320)),
        ("mobilenet_v3_small", (16, 24, 48, 96)),
        slow("mobilenet_v3_large", (24, 40, 112, 160)),
    ],
)
def test_maps_are_the_last_block_of_each_stride(name, widths):
    model, image = jv.create_model(name), jax.ShapeDtypeStruct((1, 64, 96, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    maps = jax.eval_shape(functools.partial(model.apply, method="features"), variables, image).maps
    wanted = {f"stride{stride}": (1, 64 // stride, 96 // stride, width) for stride, width in zip((4, 8, 16, 32), widths, strict=True)}
    assert {name: leaf.shape for name, leaf in maps.items()} == wanted

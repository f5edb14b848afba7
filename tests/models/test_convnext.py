"""ConvNeXt and ConvNeXt V2: torchvision's and timm's numbers."""

import jax
import jax.numpy as jnp
import pytest

import jaxvision as jv
from jaxvision.models.convnext import MODELS
from tests.marks import split
from tests.models.rows import FAMILIES
from tests.models.test_contract import count
from tests.oracles.parity import check_logits, check_training

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
timm = pytest.importorskip("timm", reason="timm is not installed: parity with it is NOT checked here")
COUNTS = {
    "convnext_tiny": 28_589_128,
    "convnext_small": 50_223_688,
    "convnext_base": 88_591_464,
    "convnext_large": 197_767_336,
    "convnextv2_atto": 3_708_400,
    "convnextv2_femto": 5_233_240,
    "convnextv2_pico": 9_066_280,
    "convnextv2_nano": 15_623_800,
    "convnextv2_tiny": 28_635_496,
    "convnextv2_base": 88_717_800,
    "convnextv2_large": 197_956_840,
    "convnextv2_huge": 660_289_640,
}


def shallow(widths: tuple[int, ...], depths: tuple[int, ...], num_classes: int):
    """torchvision's ConvNeXt of other sizes."""
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(*row) for row in zip(widths, (*widths[1:], None), depths, strict=True)], num_classes=num_classes)


@pytest.mark.parametrize("name", split(MODELS, FAMILIES))
def test_parameters_are_counted_exactly(name):
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    assert count(jax.eval_shape(jv.create_model(name).init, jax.random.key(0), image)["params"]) == COUNTS[name]


def test_torchvisions_logits_at_an_odd_size():
    model = jv.create_model("convnext_tiny", num_classes=11).clone(depths=(1, 1, 2, 1))
    check_logits(model, shallow((96, 192, 384, 768), (1, 1, 2, 1), 11), size=(71, 64))


@pytest.mark.parametrize("name", split(["convnext_tiny", "convnextv2_atto", "convnextv2_tiny"], FAMILIES))
def test_timms_logits(name):
    model = jv.create_model(name, num_classes=11).clone(depths=(1, 1, 2, 1))
    check_logits(model, timm.create_model(name, num_classes=11, depths=(1, 1, 2, 1)), size=(65, 70), layout="timm", double=True)


@pytest.mark.slow
def test_training():
    widths, depths = (8, 12, 16, 24), (1, 1, 2, 1)
    model = jv.create_model("convnext_tiny", num_classes=3).clone(depths=depths, widths=widths)
    check_training(model, shallow(widths, depths, 3), size=(64, 65))


@pytest.mark.slow
def test_training_with_grn():
    widths, depths = (8, 12, 16, 24), (1, 1, 2, 1)
    model = jv.create_model("convnextv2_atto", num_classes=3).clone(depths=depths, widths=widths)
    network = timm.create_model("convnextv2_atto", num_classes=3, depths=depths, dims=widths)
    check_training(model, network, size=(64, 65), layout="timm")


def test_an_image_smaller_than_the_stride_is_refused():
    with pytest.raises(ValueError, match="^image:"):
        jax.eval_shape(jv.create_model("convnextv2_atto").init, jax.random.key(0), jnp.zeros((1, 31, 40, 3)))

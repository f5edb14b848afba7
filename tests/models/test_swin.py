"""Swin: torchvision's and timm's numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from tests.marks import slow, split
from tests.models.rows import FAMILIES
from tests.models.test_contract import count, drawn
from tests.oracles.parity import check_logits, check_training, image_of

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
timm = pytest.importorskip("timm", reason="timm is not installed: parity with it is NOT checked here")
COUNTS = {"swin_t": 28_288_354, "swin_s": 49_606_258, "swin_b": 87_768_224}


def small(width: int, num_classes: int):
    """torchvision's Swin with five blocks, and ours."""
    from torchvision.models.swin_transformer import SwinTransformer

    sizes = {"depths": (2, 1, 1, 1), "heads": (1, 2, 2, 4)}
    options = {"stochastic_depth_prob": 0, "num_classes": num_classes}
    network = SwinTransformer([4, 4], width, list(sizes["depths"]), list(sizes["heads"]), [7, 7], **options)
    return jv.create_model("swin_t", num_classes=num_classes).clone(width=width, **sizes), network


@pytest.mark.parametrize("name", split(COUNTS, FAMILIES))
def test_parameters_are_counted_exactly(name):
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    assert count(jax.eval_shape(jv.create_model(name).init, jax.random.key(0), image)["params"]) == COUNTS[name]


@pytest.mark.parametrize("size", [slow((112, 112)), (77, 120)])
def test_torchvisions_logits_at_even_and_odd_sizes(size):
    check_logits(*small(24, 11), size=size, double=True)


@pytest.mark.slow
def test_timms_logits():
    model = jv.create_model("swin_t", num_classes=11).clone(depths=(2, 1, 2, 1))
    network = timm.create_model("swin_tiny_patch4_window7_224", depths=(2, 1, 2, 1), num_classes=11)
    check_logits(model, network, size=(224, 224), layout="timm")


@pytest.mark.slow
def test_training():
    check_training(*small(8, 3), size=(60, 64))


def test_tokens_are_the_last_map_after_the_norm():
    model = jv.create_model("swin_t", num_classes=0).clone(width=8, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1))
    image = image_of(2, 64, 96, 3)
    features = jax.jit(functools.partial(model.apply, method="features"))(drawn(model, image), image)
    assert features.tokens.shape == (2, 6, 64) and features.maps["stride32"].shape == (2, 2, 3, 64)
    np.testing.assert_allclose(features.pooled, features.tokens.mean(1), atol=1e-6)

"""EfficientNet: torchvision's numbers, drop rates, and where the maps are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from tests.oracles.parity import check_logits, check_training

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
# The gain of the weights drawn: too large a one saturates the gates, too small a one makes all images alike.
GAINS = {"efficientnet_b0": 2.0, "efficientnet_v2_s": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "gain"), GAINS.items())
def test_logits(name, gain):
    """The other rows: ``python -m benchmarks.parity_table``."""
    check_logits(jv.create_model(name, num_classes=11), getattr(torchvision.models, name)(num_classes=11), size=(33, 45), gain=gain)


def small_second():
    """V2 with one or two blocks a stage, in both libraries."""
    from torchvision.models.efficientnet import EfficientNet, FusedMBConvConfig, MBConvConfig

    rows = ((1, 3, 1, 8, 2), (4, 3, 2, 16, 2), (4, 3, 2, 24, 2), (6, 5, 1, 24, 1))
    theirs, channels = [], 8
    for index, (expansion, size, stride, features, depth) in enumerate(rows):
        kind = FusedMBConvConfig if index < 2 else MBConvConfig
        theirs.append(kind(expansion, size, stride, channels, features, depth))
        channels = features
    norm = functools.partial(torchvision.models.efficientnet.nn.BatchNorm2d, eps=1e-3)
    network = EfficientNet(theirs, 0.0, 0.0, 3, norm, 40)
    stages = tuple((*row, index < 2) for index, row in enumerate(rows))
    model = jv.create_model("efficientnet_v2_s", num_classes=3, drop_rate=0.0, drop_path_rate=0.0)
    return model.clone(stages=stages, stem_width=8, last_width=40), network


@pytest.mark.slow
def test_second_versions_blocks():
    check_logits(*small_second(), size=(33, 41), double=True)


@pytest.mark.slow  # the blocks are those of MobileNet v3, whose training is in the fast set
def test_training():
    check_training(*small_second(), size=(65, 65))


def test_drop_rates_and_maps():
    model = jv.create_model("efficientnet_b4")
    assert model.drop_rate == 0.4 and jv.create_model("efficientnet_b4", drop_rate=0.1).drop_rate == 0.1
    bound = jv.create_model("efficientnet_b0").bind({})
    rates = [rate for index in range(1, 8) for rate in getattr(bound, f"stage{index}").drop_path_rates]
    np.testing.assert_allclose(rates, 0.2 * np.arange(16) / 16)
    image = jax.ShapeDtypeStruct((1, 64, 96, 3), jnp.float32)
    for name, widths in (("efficientnet_b0", (24, 40, 112, 320)), ("efficientnet_v2_s", (48, 64, 160, 256))):
        model = jv.create_model(name)
        variables = jax.eval_shape(model.init, jax.random.key(0), image)
        maps = jax.eval_shape(functools.partial(model.apply, method="features"), variables, image).maps
        wanted = {f"stride{stride}": (1, 64 // stride, 96 // stride, width) for stride, width in zip((4, 8, 16, 32), widths, strict=True)}
        assert {name: leaf.shape for name, leaf in maps.items()} == wanted

"""VGG: torchvision's numbers, and what the paper's further columns add."""

import functools

import jax
import jax.numpy as jnp
import pytest

import jaxvision as jv
from tests.oracles.parity import check_logits, check_training

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
LARGE = [pytest.param(name, marks=pytest.mark.long) for name in ("vgg13", "vgg16", "vgg19", "vgg13_bn", "vgg16_bn", "vgg19_bn")]


@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn", *LARGE])
def test_logits(name):
    check_logits(jv.create_model(name, num_classes=11), getattr(torchvision.models, name)(num_classes=11), size=(33, 45))


@pytest.mark.long
def test_training():
    network = torchvision.models.vgg11_bn(num_classes=3, dropout=0.0)
    check_training(jv.create_model("vgg11_bn", num_classes=3, drop_rate=0.0), network, size=(32, 32))


def test_maps_halve_five_times():
    model, image = jv.create_model("vgg16"), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    maps = jax.eval_shape(functools.partial(model.apply, method="features"), variables, image).maps
    sides = {"stage1": (112, 64), "stage2": (56, 128), "stage3": (28, 256), "stage4": (14, 512), "stage5": (7, 512)}
    assert {name: leaf.shape[1:] for name, leaf in maps.items()} == {name: (side, side, width) for name, (side, width) in sides.items()}


def test_column_c_has_one_by_one_convolutions_and_a_lrn_normalises_the_first_stage_alone():
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params = jax.eval_shape(jv.create_model("vgg16_1x1").init, jax.random.key(0), image)["params"]
    assert [params[f"stage{stage}"]["conv3"]["kernel"].shape[:2] for stage in (3, 4, 5)] == [(1, 1)] * 3
    plain, response = (jv.create_model(name, num_classes=0) for name in ("vgg11", "vgg11_lrn"))
    bound = response.bind({})
    assert [getattr(bound, f"stage{stage}").norm for stage in range(1, 6)] == ["response", "", "", "", ""]
    assert jax.tree.structure(jax.eval_shape(plain.init, jax.random.key(0), image)) == jax.tree.structure(
        jax.eval_shape(response.init, jax.random.key(0), image)
    )

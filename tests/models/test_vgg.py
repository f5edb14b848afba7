"""VGG: torchvision's numbers, and what the paper's further columns add."""

import functools

import jax
import jax.numpy as jnp
import pytest

import jaxvision as jv
from jaxvision.layers import Dense
from jaxvision.models import vgg
from tests.oracles import papers
from tests.oracles.parity import check_logits, check_training, torch

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")


WIDTHS, HIDDEN = (4, 8, 16, 24, 24), 32


@pytest.fixture
def narrow(monkeypatch):
    """Few channels and units, which are no fields of the net: 4,096 units of 25,088 inputs are most of its work."""
    monkeypatch.setattr(vgg, "_WIDTHS", WIDTHS)
    monkeypatch.setattr(vgg, "Dense", lambda features, **options: Dense(HIDDEN, **options))


@pytest.mark.parametrize(("name", "column"), [("vgg11", "A"), ("vgg11_lrn", "A-LRN"), ("vgg16_1x1", "C"), ("vgg11_bn", "A")])
def test_the_papers_columns(narrow, name, column):
    """Images strong enough for the response normalisation to divide by more than its constant."""
    network = papers.vgg(column, WIDTHS, HIDDEN, 11, batch=name.endswith("bn"))
    check_logits(jv.create_model(name, num_classes=11), network, size=(33, 45), strength=50.0, double=True)


@pytest.mark.parametrize("name", ["vgg11_bn", "vgg11_lrn"])
def test_training(narrow, name):
    network = papers.vgg("A-LRN" if name.endswith("lrn") else "A", WIDTHS, HIDDEN, 3, batch=name.endswith("bn"))
    check_training(jv.create_model(name, num_classes=3, drop_rate=0.0), network, size=(32, 32))


def test_torchvisions_logits(narrow):
    with torch.device("meta"):
        network = torchvision.models.vgg11_bn(num_classes=11, init_weights=False)
    one, two, three, four, five = WIDTHS
    network.features = torchvision.models.vgg.make_layers([one, "M", two, "M", three, three, "M", four, four, "M", five, five, "M"], True)
    network.classifier = papers.vgg("A", WIDTHS, HIDDEN, 11).classifier
    check_logits(jv.create_model("vgg11_bn", num_classes=11), network, size=(33, 45))


@pytest.mark.slow
def test_training_of_a_whole_network():
    network = torchvision.models.vgg11_bn(num_classes=3, dropout=0.0)
    check_training(jv.create_model("vgg11_bn", num_classes=3, drop_rate=0.0), network, size=(32, 32))


def test_maps_halve_five_times():
    model, image = jv.create_model("vgg16"), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    maps = jax.eval_shape(functools.partial(model.apply, method="features"), variables, image).maps
    sides = {"stride2": (112, 64), "stride4": (56, 128), "stride8": (28, 256), "stride16": (14, 512), "stride32": (7, 512)}
    assert {name: leaf.shape[1:] for name, leaf in maps.items()} == {name: (side, side, width) for name, (side, width) in sides.items()}


def test_column_c_has_one_by_one_convolutions_and_a_lrn_normalizes_only_the_first_stage():
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params = jax.eval_shape(jv.create_model("vgg16_1x1").init, jax.random.key(0), image)["params"]
    assert [params[f"stage{stage}"]["conv3"]["kernel"].shape[:2] for stage in (3, 4, 5)] == [(1, 1)] * 3
    plain, response = (jv.create_model(name, num_classes=0) for name in ("vgg11", "vgg11_lrn"))
    bound = response.bind({})
    assert [getattr(bound, f"stage{stage}").norm for stage in range(1, 6)] == ["response", "", "", "", ""]
    assert jax.tree.structure(jax.eval_shape(plain.init, jax.random.key(0), image)) == jax.tree.structure(
        jax.eval_shape(response.init, jax.random.key(0), image)
    )

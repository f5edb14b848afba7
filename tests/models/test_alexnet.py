"""AlexNet and the small CIFAR net: torchvision's numbers, the shapes and rows of each form."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.layers import Dense
from jaxvision.models import alexnet
from tests.marks import slow
from tests.oracles import papers, torch_layouts
from tests.oracles.parity import check_logits, check_training, image_of, torch

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
KEY = jax.random.key(0)


def rows(variables) -> list[int]:
    """Parameters of each part, in the order of the computation."""
    params = variables["params"]
    order = [name for name in ("stem", *(f"stage{index}" for index in range(1, 7)), "head") if name in params]
    return [sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params[name])) for name in order]


def traced(name: str, side: int, channels: int = 3, **options):
    model, image = jv.create_model(name, **options), jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
    variables = jax.eval_shape(model.init, KEY, image)
    return variables, jax.eval_shape(functools.partial(model.apply, method="features"), variables, image).maps


def test_logits():
    network = torchvision.models.alexnet(num_classes=11)
    check_logits(jv.create_model("alexnet", num_classes=11), network, size=(71, 84))


WIDTHS, HIDDEN = (8, 16, 24, 24, 16), 32


@pytest.fixture
def narrow(monkeypatch):
    """Few units in the dense layers, whose number is no field of the net."""
    monkeypatch.setattr(alexnet, "Dense", lambda features, **options: Dense(HIDDEN, **options))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("alexnet", {"padding": 2}),
        ("alexnet_227", {"norm": "response", "groups": 2}),
        ("alexnet_227_pad2", {"padding": 2}),
        ("alexnet_bn", {"norm": "batch"}),
    ],
)
def test_the_papers_forms(narrow, name, options):
    """Images strong enough for the response normalisation to divide by more than its constant."""
    model = jv.create_model(name, num_classes=11).clone(widths=WIDTHS)
    check_logits(model, papers.alexnet(WIDTHS, HIDDEN, 11, **options), size=(75, 84), strength=50.0, double=True)


@pytest.mark.parametrize(("name", "norm", "groups"), [slow("alexnet_227", "response", 2), ("alexnet_bn", "batch", 1)])
def test_training(narrow, name, norm, groups):
    network = papers.alexnet(WIDTHS, HIDDEN, 3, norm=norm, groups=groups)
    check_training(jv.create_model(name, num_classes=3, drop_rate=0.0).clone(widths=WIDTHS), network, size=(75, 75))


@pytest.mark.slow
def test_training_of_the_whole_network():
    network = torchvision.models.alexnet(num_classes=3, dropout=0.0)
    check_training(jv.create_model("alexnet", num_classes=3, drop_rate=0.0), network, size=(67, 67))


def test_rows_of_torchvisions_form():
    wanted = [23_296, 307_392, 663_936, 884_992, 590_080, 37_752_832, 16_781_312, 4_097_000]
    assert rows(traced("alexnet", 224)[0]) == wanted


def test_first_maps_of_the_other_forms():
    variables, maps = traced("alexnet_227", 227)
    assert maps["stride4"].shape == (1, 55, 55, 96) and rows(variables)[0] == 34_944
    assert maps["stride16"].shape == (1, 13, 13, 256)
    assert traced("alexnet_227_pad2", 227)[1]["stride4"].shape == (1, 56, 56, 64)
    variables, maps = traced("alexnet_bn", 227, num_classes=10)
    assert maps["stride4"].shape == (1, 55, 55, 96) and sum(rows(variables)) == 58_325_066


def test_the_cifar_nets_logits():
    nn = torch.nn
    torch.manual_seed(0)
    trunk = [nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    network = nn.Sequential(*trunk, nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
    image = image_of(3, 32, 32, 3)
    ours = jv.create_model("cifarnet").apply(torch_layouts.lenet(network.state_dict()), image)
    wanted = network(torch.tensor(image).permute(0, 3, 1, 2)).detach().numpy()
    assert np.abs(ours - wanted).max() <= 1e-4 * wanted.std()


def test_a_small_image_is_refused():
    with pytest.raises(ValueError, match="^image:"):
        traced("alexnet", 48)

"""GoogLeNet, Inception v3 and v4: torchvision's and timm's numbers, auxiliary heads, the parts of a block."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.models.inception import MODELS
from jaxvision.models.inception_blocks import Branches
from tests.marks import slow
from tests.oracles import papers
from tests.oracles.parity import DOUBLE_TOLERANCE, arrays, check_logits, check_training, difference, first, image_of, randomised, torch

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
timm = pytest.importorskip("timm", reason="timm is not installed: parity with it is NOT checked here")
KEY = jax.random.key(0)


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def googlenet(num_classes: int, **options):
    return torchvision.models.googlenet(num_classes=num_classes, aux_logits=True, init_weights=False, **options)


@pytest.mark.slow
def test_googlenets_logits():
    check_logits(jv.create_model("googlenet", num_classes=11), googlenet(11), size=(65, 78))


# Blocks that a small form lacks, by their number: the others of one kind as large, or with as many channels in as out.
LEFT_OUT = {"googlenet": (4, 5, 8), "inception_v3": (3, 6, 7, 8, 11), "inception_v4": (5, 6, 7, 10, 11, 12, 13, 14, 15, 18, 19)}
SIDES = {"googlenet": (33, 41), "inception_v3": (75, 83), "inception_v4": (75, 83)}
BLOCKS = {
    "googlenet": [f"inception{name}" for name in "3a 3b 4a 4b 4c 4d 4e 5a 5b".split()],
    "inception_v3": [f"Mixed_{name}" for name in "5b 5c 5d 6a 6b 6c 6d 6e 7a 7b 7c".split()],
}


def narrow(steps: tuple) -> tuple:
    """A chain with an eighth of the channels."""

    def one(step: tuple) -> tuple:
        kind, *rest = step
        return ("fork", *map(one, rest)) if kind == "fork" else step if isinstance(kind, str) else (kind // 8, *rest)

    return tuple(map(one, steps))


def narrowed(network):
    """The library's network with an eighth of the channels."""
    for module in network.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            rows, columns = module.weight.shape[:2]
            rows = rows // 8 if module.weight.ndim == 4 else rows
            module.weight = torch.nn.Parameter(module.weight.detach()[:rows, : columns if columns == 3 else columns // 8])
        elif isinstance(module, torch.nn.BatchNorm2d):
            kept = module.num_features // 8
            module.weight, module.bias = (torch.nn.Parameter(tensor.detach()[:kept]) for tensor in (module.weight, module.bias))
            module.running_mean, module.running_var = module.running_mean[:kept], module.running_var[:kept]
    return network


def small(name: str, num_classes: int, monkeypatch):
    """One or two narrow blocks of each kind, without auxiliary heads, in both libraries: the others are the identity (or a pooling)."""
    size = MODELS[name]
    left = lambda chain: tuple(step for step in chain if step[0] == "max_ceil")  # noqa: E731
    blocks = tuple(
        (left(chains[0]),) if number in LEFT_OUT[name] else tuple(map(narrow, chains)) for number, chains in enumerate(size.blocks, 1)
    )
    monkeypatch.setitem(MODELS, name, size._replace(blocks=blocks, stem=narrow(size.stem)))
    model = jv.create_model(name, num_classes=num_classes, auxiliary_heads=False, drop_rate=0.0)
    if name == "inception_v4":
        network = timm.create_model(name, num_classes=num_classes)
        for number in LEFT_OUT[name]:
            network.features[number + 2] = torch.nn.Identity()
        return model, narrowed(network)
    network = getattr(torchvision.models, name)(num_classes=num_classes, aux_logits=False, init_weights=False, dropout=0.0)
    for number in LEFT_OUT[name]:
        setattr(network, BLOCKS[name][number - 1], torch.nn.Identity())
    return model, narrowed(network)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEFT_OUT)
def test_training(name, monkeypatch):
    check_training(*small(name, 3, monkeypatch), size=SIDES[name], layout="timm" if name == "inception_v4" else "torchvision")


@pytest.mark.parametrize("name", [slow("googlenet"), "inception_v3", slow("inception_v4")])
def test_small_forms_logits(name, monkeypatch):
    layout = "timm" if name == "inception_v4" else "torchvision"
    check_logits(*small(name, 11, monkeypatch), size=SIDES[name], layout=layout, double=True)


@pytest.mark.slow
def test_the_papers_googlenet():
    """Images strong enough for the response normalisation to divide by more than its constant."""
    model, image = jv.create_model("googlenet_original", num_classes=11, auxiliary_heads=False), 50 * image_of(2, 65, 78, 3)
    generator = np.random.default_rng(0)

    def draw(leaf):
        scale = math.sqrt(2 / max(1, math.prod(leaf.shape[:-1]))) if leaf.ndim > 1 else 0.2
        return generator.normal(0, scale, leaf.shape)

    params = jax.tree.map(draw, jax.eval_shape(model.init, KEY, image)["params"])
    wanted = papers.googlenet(params, first(image).double())
    with jax.enable_x64(True):
        assert difference(jax.jit(model.apply)({"params": params}, image.astype(np.float64)), wanted) <= DOUBLE_TOLERANCE


@pytest.mark.slow
def test_googlenets_training():
    model = jv.create_model("googlenet", num_classes=3, drop_rate=0.0)
    check_training(model, googlenet(3, dropout=0.0), size=(65, 65))


@pytest.mark.slow
def test_inception_v3s_logits():
    network = torchvision.models.inception_v3(num_classes=11, aux_logits=True, init_weights=False)
    check_logits(jv.create_model("inception_v3", num_classes=11), network, size=(75, 90))


@pytest.mark.slow
def test_inception_v3s_training():
    network = torchvision.models.inception_v3(num_classes=3, aux_logits=True, init_weights=False, dropout=0.0)
    check_training(jv.create_model("inception_v3", num_classes=3, drop_rate=0.0), network, size=(299, 299))


@pytest.mark.slow
def test_timms_inception_v3s_logits():
    network = timm.create_model("inception_v3", num_classes=11, aux_logits=True).eval()
    model = jv.create_model("inception_v3", num_classes=11)
    variables = jv.weights.from_torch(model, arrays(randomised(network)), layout="timm")
    image = image_of(2, 299, 299, 3)
    with torch.no_grad():
        theirs = network(first(image))
    assert difference(jax.jit(model.apply)(variables, image), theirs[0] if isinstance(theirs, tuple) else theirs) <= 1e-4


@pytest.mark.slow
def test_inception_v4s_logits():
    network = timm.create_model("inception_v4", num_classes=11)
    check_logits(jv.create_model("inception_v4", num_classes=11), network, size=(75, 90), layout="timm")


@pytest.mark.slow
def test_googlenets_auxiliary_heads():
    network = randomised(googlenet(11)).eval()
    model, image, inner = jv.create_model("googlenet", num_classes=11), image_of(2, 65, 70, 3), {}
    for part in ("inception4a", "inception4d"):
        getattr(network, part).register_forward_hook(lambda _, __, out, part=part: inner.update({part: out}))
    variables = jv.weights.from_torch(model, arrays(network), layout="torchvision")
    ours = jax.jit(functools.partial(model.apply, train=False, method="with_auxiliary"))(variables, image)
    with torch.no_grad():
        wanted = network(first(image)), network.aux1(inner["inception4a"]), network.aux2(inner["inception4d"])
    for found, theirs in zip(ours, wanted, strict=True):
        assert difference(found, theirs) <= 1e-4


@pytest.mark.slow
def test_inception_v3s_auxiliary_head():
    network = torchvision.models.inception_v3(num_classes=11, aux_logits=True, init_weights=False)
    network, model, image, inner = randomised(network).eval(), jv.create_model("inception_v3", num_classes=11), image_of(2, 299, 299, 3), {}
    network.Mixed_6e.register_forward_hook(lambda _, __, out: inner.update(map=out))
    variables = jv.weights.from_torch(model, arrays(network), layout="torchvision")
    ours = jax.jit(functools.partial(model.apply, train=False, method="with_auxiliary"))(variables, image)
    with torch.no_grad():
        wanted = network(first(image)), network.AuxLogits(inner["map"])
    for found, theirs in zip(ours, wanted, strict=True):
        assert difference(found, theirs) <= 1e-4


def traced(name: str, side: int = 75, **options):
    model, image = jv.create_model(name, **options), jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    return model, image, jax.eval_shape(model.init, KEY, image)


@pytest.mark.slow
def test_counts_without_auxiliary_heads():
    assert count(traced("googlenet", auxiliary_heads=False)[2]["params"]) == 6_624_904
    assert count(traced("googlenet_original", auxiliary_heads=False)[2]["params"]) == 6_998_552
    _, _, variables = traced("googlenet")
    assert count([variables["params"][f"auxiliary{number}"] for number in (1, 2)]) == 13_004_888 - 6_624_904


def test_auxiliary_logits_are_sown_only_in_training_and_on_request():
    model, image, variables = traced("googlenet", num_classes=7)
    rngs = {"dropout": KEY}
    train = functools.partial(model.apply, train=True, rngs=rngs)
    logits, sown = jax.eval_shape(functools.partial(train, mutable=["batch_stats", "auxiliary"]), variables, image)
    assert logits.shape == (2, 7)
    assert {name: leaf.shape for name, (leaf,) in sown["auxiliary"].items()} == {"logits1": (2, 7), "logits2": (2, 7)}
    logits, moved = jax.eval_shape(functools.partial(train, mutable=["batch_stats"]), variables, image)
    assert logits.shape == (2, 7) and set(moved) == {"batch_stats"}
    assert jax.tree.structure(moved["batch_stats"]) == jax.tree.structure(variables["batch_stats"])
    with pytest.raises(ValueError, match="^num_classes:"):
        encoder, image, variables = traced("googlenet", num_classes=0)
        jax.eval_shape(functools.partial(encoder.apply, train=False, method="with_auxiliary"), variables, image)


@pytest.mark.slow
def test_inception_v3s_auxiliary_head_needs_large_images():
    model, image, variables = traced("inception_v3", num_classes=5)
    heads = functools.partial(model.apply, train=False, method="with_auxiliary")
    with pytest.raises(ValueError, match="^image:"):
        jax.eval_shape(heads, variables, image)
    large = jax.ShapeDtypeStruct((2, 299, 299, 3), jnp.float32)
    assert [leaf.shape for leaf in jax.eval_shape(heads, variables, large)] == [(2, 5), (2, 5)]


@pytest.mark.parametrize(
    ("name", "side", "maps"),
    [
        ("googlenet", 224, {4: (56, 192), 8: (28, 480), 16: (14, 832), 32: (7, 1024)}),
        ("googlenet_original", 224, {4: (56, 192), 8: (28, 480), 16: (14, 832), 32: (7, 1024)}),
        slow("inception_v3", 299, {4: (71, 192), 8: (35, 288), 16: (17, 768), 32: (8, 2048)}),
        slow("inception_v4", 299, {4: (71, 192), 8: (35, 384), 16: (17, 1024), 32: (8, 1536)}),
    ],
)
def test_maps(name, side, maps):
    model, image, variables = traced(name, side)
    found = jax.eval_shape(functools.partial(model.apply, method="features"), variables, image).maps
    wanted = {f"stride{key}": (size, size, width) for key, (size, width) in maps.items()}
    assert {name: leaf.shape[1:] for name, leaf in found.items()} == wanted


def test_a_block_with_reductions_has_a_quarter_of_the_weights():
    """GoogLeNet's block 4c on 512 channels, against the same four outputs without the 1 x 1 convolutions in front."""

    def weights(chains) -> int:
        params = jax.eval_shape(functools.partial(Branches(chains).init, train=False), KEY, jnp.zeros((1, 14, 14, 512)))["params"]
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params) if len(leaf.shape) == 4)

    pool = (("max", 3, 1, 1), (64, 1))
    assert weights((((128, 1),), ((128, 1), (256, 3)), ((24, 1), (64, 5)), pool)) == 509_440
    assert weights((((128, 1),), ((256, 3),), ((64, 5),), pool)) == 2_097_152


def test_a_fork_and_poolings():
    x = image_of(1, 6, 7, 4)
    module = Branches((((5, 1), ("fork", (2, (1, 3)), (3, (3, 1)))), (("average_inside", 3, 1, 1),), (("response",),)))
    variables = module.init(KEY, x, train=False)
    assert set(variables["params"]["branch1"]) == {"conv1", "conv2a", "conv2b"}
    found = np.asarray(module.apply(variables, x, train=False))
    assert found.shape == (1, 6, 7, 13)
    np.testing.assert_allclose(found[0, 0, 0, 5:9], x[0, :2, :2].mean((0, 1)), rtol=1e-5)

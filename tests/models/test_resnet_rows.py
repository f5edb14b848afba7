"""ResNeXt, Wide-ResNet, SE-ResNet, pre-activation and the CIFAR forms: torchvision's, timm's and the paper's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from tests.marks import split
from tests.models.rows import FAMILIES
from tests.models.test_contract import count, drawn
from tests.oracles.parity import check_logits, check_training, torch

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
timm = pytest.importorskip("timm", reason="timm is not installed: parity with it is NOT checked here")
COUNTS = {
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
    "seresnet18": 11_779_624,
    "seresnet34": 21_960_416,
    "seresnet50": 28_088_024,
    "seresnet101": 49_326_872,
    "seresnet152": 66_821_848,
    "resnetv2_18": 11_687_720,
    "resnetv2_34": 21_795_880,
    "resnetv2_50": 25_549_352,
    "resnetv2_101": 44_541_480,
    "resnetv2_152": 60_185_128,
    **dict.fromkeys(("resnet20", "plain20"), 269_722),
    **dict.fromkeys(("resnet32", "plain32"), 464_154),
    **dict.fromkeys(("resnet44", "plain44"), 658_586),
    **dict.fromkeys(("resnet56", "plain56"), 853_018),
    **dict.fromkeys(("resnet110", "plain110"), 1_727_962),
}
GROUPED = {"resnext50_32x4d": (32, 4), "wide_resnet50_2": (1, 128)}  # groups, width of one
DEPTHS = (1, 1, 1, 2)


@pytest.mark.parametrize("name", split(COUNTS, FAMILIES))
def test_parameters_are_counted_exactly(name):
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    assert count(jax.eval_shape(jv.create_model(name).init, jax.random.key(0), image)["params"]) == COUNTS[name]


@pytest.mark.parametrize("name", split(GROUPED, {"resnext50_32x4d"}))
def test_torchvisions_logits_at_an_odd_size(name):
    from torchvision.models.resnet import Bottleneck, ResNet

    groups, width = GROUPED[name]
    network = ResNet(Bottleneck, list(DEPTHS), 11, groups=groups, width_per_group=width)
    check_logits(jv.create_model(name, num_classes=11).clone(depths=DEPTHS), network, size=(65, 70))


@pytest.mark.parametrize("name", split(["seresnet18", "seresnet50", "resnetv2_18", "resnetv2_50"], {"seresnet18"}))
def test_timms_logits_at_an_odd_size(name):
    network = timm.create_model(name, num_classes=11, layers=DEPTHS)
    model, double = jv.create_model(name, num_classes=11).clone(depths=DEPTHS), name.endswith("18")
    check_logits(model, network, size=(65, 70), layout="timm", double=double)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seresnet18", "resnetv2_18"])
def test_training(name):
    model = jv.create_model(name, num_classes=3).clone(depths=(1, 1, 1, 1))
    check_training(model, timm.create_model(name, num_classes=3, layers=(1, 1, 1, 1)), size=(33, 40), layout="timm")


@pytest.mark.parametrize(("name", "residual"), [("resnet20", True), ("plain20", False)])
def test_cifar_forms_are_the_papers(name, residual):
    """Section 4.2, option A: a shortcut that subsamples and pads channels with zeros, half of them before."""
    model = jv.create_model(name).clone(depths=(2, 2))
    image = jax.random.normal(jax.random.key(0), (2, 9, 12, 3))
    variables = drawn(model, image)

    def unit(x, tree, statistics, number, stride=1):
        leaves = {name: torch.tensor(np.asarray(leaf)) for name, leaf in (tree[f"norm{number}"] | statistics).items()}
        kernel = torch.tensor(np.asarray(tree[f"conv{number}"]["kernel"])).permute(3, 2, 0, 1)
        x = torch.nn.functional.conv2d(x, kernel, stride=stride, padding=1)
        return torch.nn.functional.batch_norm(x, leaves["mean"], leaves["var"], leaves["scale"], leaves["bias"])

    params, stats = variables["params"], variables["batch_stats"]
    stem = {"conv1": params["stem"]["conv"], "norm1": params["stem"]["norm"]}
    x = unit(torch.tensor(np.asarray(image)).permute(0, 3, 1, 2), stem, stats["stem"]["norm"], 1).relu()
    for stage in (1, 2):
        for block in (1, 2):
            tree, statistics = params[f"stage{stage}"][f"block{block}"], stats[f"stage{stage}"][f"block{block}"]
            stride = 2 if (stage, block) == (2, 1) else 1
            assert set(tree) == {"conv1", "norm1", "conv2", "norm2"}
            branch = unit(unit(x, tree, statistics["norm1"], 1, stride).relu(), tree, statistics["norm2"], 2)
            if residual:
                short = torch.nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8)) if stride == 2 else x
                branch = branch + short
            x = branch.relu()
    wanted = x.mean((2, 3)).numpy() @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(jax.jit(model.apply)(variables, image), wanted, rtol=1e-4, atol=1e-4)


def test_cifar_forms_have_their_own_defaults():
    model = jv.create_model("resnet20")
    assert (model.num_classes, model.stem_kind) == (10, "cifar")
    image = jnp.zeros((1, 32, 32, 3))
    features, _ = jax.eval_shape(lambda image: model.init_with_output(jax.random.key(0), image, method="features"), image)
    assert {name: leaf.shape[1:] for name, leaf in features.maps.items()} == {
        "stride1": (32, 32, 16),
        "stride2": (16, 16, 32),
        "stride4": (8, 8, 64),
    }


@pytest.mark.parametrize("name", split(["seresnet18", "resnetv2_18"], {"resnetv2_18"}))
def test_zero_initialised_blocks_are_their_shortcuts(name):
    model = jv.create_model(name, zero_init_residual=True).clone(depths=(1,))
    block = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]["stage1"]["block1"]
    np.testing.assert_array_equal(block["norm2"]["scale"] if name == "seresnet18" else block["conv2"]["kernel"], 0)

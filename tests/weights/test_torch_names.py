"""State dicts of PyTorch in our trees and back: the same logits, the same bits, and errors that name the option that helps."""

import jax
import numpy as np
import pytest

import jaxvision as jv
from tests.marks import slow
from tests.oracles import references
from tests.oracles.parity import arrays, check_logits, difference, first, image_of, randomised, rounding, torch

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
timm = pytest.importorskip("timm", reason="timm is not installed: parity with it is NOT checked here")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def lenet(channels: int):
    nn = torch.nn
    trunk = [nn.Conv2d(channels, 6, 5), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*trunk, nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10))


def small_resnet(**options):
    network = randomised(torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], **options))
    return jv.create_model("resnet18", **options).clone(depths=(1, 1, 1, 1)), arrays(network)


def small_vit(size: int = 32, *, classes: int = 3, ours: int | None = None, **options):
    network = randomised(timm.create_model("vit_tiny_patch16_224", img_size=size, patch_size=8, num_classes=classes, depth=2, **options))
    model = jv.create_model("vit_tiny_patch16_224", image_size=ours or size, patch_size=8, num_classes=classes)
    return model.clone(depth=2), network.eval()


@pytest.mark.parametrize("channels", [1, 3])
def test_lenet_with_any_channels(channels):
    network, image = lenet(channels), image_of(3, 32, 32, channels)
    model = jv.create_model("lenet5")
    variables = jv.weights.from_torch(model, arrays(network))
    with torch.no_grad():
        assert difference(jax.jit(model.apply)(variables, image), network(first(image))) <= 1e-4
    back = jv.weights.to_torch(model, variables, layout="sequential")
    assert all(np.array_equal(back[name], tensor) for name, tensor in arrays(network).items())
    assert set(jv.weights.to_torch(model, variables, layout="tutorial")) == {
        f"{layer}.{leaf}" for layer in "conv1 conv2 fc1 fc2 fc3".split() for leaf in ("weight", "bias")
    }


@pytest.mark.parametrize(
    ("name", "size", "library"),
    [
        ("resnet18", (65, 71), "torchvision"),
        slow("resnet50", (64, 70), "timm"),
        slow("resnet18", (65, 71), "timm"),
        slow("resnet50", (64, 70), "torchvision"),
    ],
)
def test_resnet(name, size, library):
    network = getattr(torchvision.models, name)(num_classes=5) if library == "torchvision" else timm.create_model(name, num_classes=5)
    check_logits(jv.create_model(name, num_classes=5), network, size=size, layout=library)


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_vit_in_timms_layout(pool):
    model, network = small_vit(global_pool=pool)
    model = model.clone(pool="token" if pool == "token" else "mean")
    check_logits(model, network, size=(32, 32), layout="timm")


def test_vit_in_torchvisions_layout():
    sizes = {"image_size": 16, "patch_size": 8, "num_layers": 2, "num_heads": 3, "hidden_dim": 192, "mlp_dim": 768, "num_classes": 5}
    model = jv.create_model("vit_tiny_patch16_224", image_size=16, patch_size=8, num_classes=5).clone(depth=2)
    check_logits(model, torchvision.models.VisionTransformer(**sizes), size=(16, 16))


def test_the_layout_is_detected_and_another_can_be_written():
    model, network = small_vit()
    variables = jv.weights.from_torch(model, arrays(network))
    moved = jv.weights.to_torch(model, variables, layout="torchvision")
    assert "encoder.pos_embedding" in moved
    again = jv.weights.from_torch(model, moved)
    assert all(map(np.array_equal, jax.tree.leaves(again), jax.tree.leaves(variables)))
    assert {leaf.dtype for leaf in jax.tree.leaves(again)} == {np.dtype("float32")}
    with pytest.raises(ValueError, match="^layout:"):
        jv.weights.to_torch(model, variables)
    with pytest.raises(ValueError, match="^layout:"):
        jv.weights.from_torch(model, moved, layout="keras")


def complaint(model, tensors, **options) -> str:
    with pytest.raises(ValueError) as caught:
        jv.weights.from_torch(model, tensors, **options)
    return str(caught.value)


def test_missing_unexpected_and_misshaped_names_are_listed():
    model, tensors = small_resnet(num_classes=7)
    tensors["layer1.0.conv9.weight"] = tensors.pop("layer1.0.conv2.weight")
    tensors["conv1.weight"] = tensors["conv1.weight"][:, :, :3]
    tensors["bn1.bias"] = tensors["bn1.bias"].astype(np.int64)
    text = complaint(model, tensors)
    assert "layer1.0.conv2.weight [64, 64, 3, 3]" in text
    assert "layer1.0.conv9.weight" in text
    assert "conv1.weight: found [64, 3, 3, 7], expected [64, 3, 7, 7]" in text
    assert "bn1.bias: found int64" in text


def test_the_message_names_the_option_that_helps():
    model, tensors = small_resnet(num_classes=7)
    other = model.clone(num_classes=4)
    text = complaint(other, tensors)
    assert "fc.weight: found [7, 512], expected [4, 512]" in text and "num_classes=7" in text and "drop_head=True" in text
    assert "head" not in jv.weights.from_torch(other, tensors, drop_head=True)["params"]
    encoder = model.clone(num_classes=0)
    assert "drop_head=True" in complaint(encoder, tensors)
    variables = jv.weights.from_torch(encoder, tensors, drop_head=True)
    assert jax.eval_shape(encoder.apply, variables, jax.ShapeDtypeStruct((2, 64, 64, 3), np.float32)).shape == (2, 512)
    wrapped = {f"module.{name}": tensor for name, tensor in tensors.items()}
    assert "prefix='module.'" in complaint(model, wrapped)
    with pytest.raises(ValueError, match="^prefix:"):
        jv.weights.from_torch(model, wrapped, prefix="modul.")
    assert jv.weights.from_torch(model, wrapped, prefix="module.")["params"].keys() == variables["params"].keys() | {"head"}
    assert "conv1.weight" in complaint(model, {"a": np.zeros(1)})
    mixed = {f"backbone.{name}" if "fc" not in name else name: tensor for name, tensor in tensors.items()}
    assert "prefix='backbone.'" in complaint(model, mixed)


@pytest.mark.parametrize("registers", [False, True])
def test_positions_of_another_image_size_as_timm_resamples_them(registers):
    from timm.layers import resample_abs_pos_embed

    model, network = small_vit(48, ours=32)
    tensors, prefix = arrays(network), 1
    if registers:
        model, prefix = model.clone(form=(False, 4, 0.0, False)), 0
        tensors |= {"pos_embed": tensors["pos_embed"][:, 1:], "reg_token": np.zeros((1, 4, 192), np.float32)}
    assert "image_size=48 in create_model, or grid=(4, 4) to resample" in complaint(model, tensors)
    assert "grid: pos_embed" in complaint(model, tensors, grid=(9, 9))
    ours = jv.weights.from_torch(model, tensors, grid=(4, 4))["params"]["stem"]["position"]
    theirs = resample_abs_pos_embed(torch.tensor(tensors["pos_embed"]), [4, 4], num_prefix_tokens=prefix)
    np.testing.assert_allclose(ours, theirs[0].numpy(), atol=1e-5)


@pytest.mark.parametrize(("before", "after"), [(3, 7), (12, 7), (7, 12)])
def test_offsets_of_another_window_as_timm_resamples_them(before, after):
    from timm.layers import resize_rel_pos_bias_table

    from jaxvision.weights.positions import of_windows

    table = np.random.default_rng(0).standard_normal(((2 * before - 1) ** 2, 3)).astype(np.float32)
    theirs = resize_rel_pos_bias_table(torch.tensor(table), (after, after), ((2 * after - 1) ** 2, 3)).numpy()
    found = of_windows(table, theirs.shape, (after, after))
    assert found.dtype == table.dtype
    np.testing.assert_allclose(found, theirs, atol=2e-4)  # its places are float32, a millionth apart, and far out much more


def test_swins_windows_are_resampled_on_request():
    model = jv.create_model("swin_tiny_patch4_window7_224", num_classes=3).clone(depths=(1, 1, 1, 1))
    sizes = {"window_size": 5, "img_size": 160, "depths": (1, 1, 1, 1), "num_classes": 3}
    tensors = arrays(randomised(timm.create_model("swin_tiny_patch4_window7_224", **sizes)))
    text = complaint(model, tensors)
    assert "found [81, 3], expected [169, 3]" in text and "window=5" in text and "grid=(7, 7)" in text
    assert text.count("grid=(7, 7)") == 1
    assert "grid: layers.0.blocks.0.attn.relative_position_bias_table [81, 3]" in complaint(model, tensors, grid=(8, 8))
    params = jv.weights.from_torch(model, tensors, grid=(7, 7))["params"]
    assert params["stage1"]["block1"]["attention"]["position"].shape == (169, 3)
    variables = jv.weights.from_torch(model.clone(window=5), tensors)
    assert variables["params"]["stage1"]["block1"]["attention"]["position"].shape == (81, 3)


def test_channels_of_the_images():
    tensors = small_resnet(num_classes=3)[1]
    tensors["conv1.weight"] = tensors["conv1.weight"][:, :1]
    model = jv.create_model("resnet18", num_classes=3, in_channels=3).clone(depths=(1, 1, 1, 1))
    assert "in_channels=1 in create_model" in complaint(model, tensors)
    kernel = jv.weights.from_torch(model.clone(in_channels=1), tensors)["params"]["stem"]["conv"]["kernel"]
    assert kernel.shape == jv.weights.from_torch(model.clone(in_channels=None), tensors)["params"]["stem"]["conv"]["kernel"].shape


@pytest.mark.slow
def test_auxiliary_classifiers_can_be_dropped():
    network = randomised(torchvision.models.googlenet(num_classes=3, aux_logits=False, init_weights=False)).eval()
    model = jv.create_model("googlenet", num_classes=3)
    assert "drop_auxiliary=True" in complaint(model, arrays(network))
    variables = jv.weights.from_torch(model, arrays(network), drop_auxiliary=True)
    assert not [name for name in variables["params"] if name.startswith("auxiliary")]
    image = image_of(2, 64, 64, 3)
    with torch.no_grad():
        assert difference(jax.jit(model.apply)(variables, image), network(first(image))) <= 1e-4
    back = jv.weights.to_torch(model, variables, layout="torchvision")
    assert set(back) == set(arrays(network))


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v3_small",
        *(slow(name) for name in ("efficientnet_b0", "efficientnet_v2_s", "efficientnet_b5", "vgg11_bn")),
    ],
)
def test_timms_form_of_torchvisions_rows(name):
    network = references.reference(name, "timm")
    options = {"size": (33, 45), "gain": references.GAINS.get(name, 2.0)}
    if name == "efficientnet_b5":  # 39 blocks amplify rounding: float64 shows mistakes, float32 differs by what PyTorch's own rounds
        options |= {"double": True, "tolerance": 3 * rounding(network, **options)}
    check_logits(references.counterpart(name, "timm"), network, layout="timm", **options)


@pytest.mark.parametrize(("name", "theirs"), [("mobilenet_v3_small", "mobilenetv3_small_100"), slow("efficientnet_b5", "efficientnet_b5")])
def test_one_name_with_other_values_is_refused(name, theirs):
    model = jv.create_model(name)
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in timm.create_model(theirs).state_dict().items()}
    tensors = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    with pytest.raises(ValueError, match=r"^layout: .*model.clone\(epsilon=1e-05\)"):
        jv.weights.from_torch(model, tensors)
    variables = jv.weights.from_torch(model.clone(epsilon=1e-5), tensors)
    with pytest.raises(ValueError, match=r"^layout: .*model.clone\(epsilon=1e-05\)"):
        jv.weights.to_torch(model, variables, layout="timm")


def test_a_module_of_another_library_is_refused():
    import flax.linen as nn

    with pytest.raises(TypeError, match="^model:"):
        jv.weights.from_torch(nn.Dense(3), {})
    with pytest.raises(ValueError, match="^model:"):
        jv.weights.from_torch(jv.create_model("googlenet_original"), {})

"""Files of the public self-supervised releases, written with their names and shapes: the encoder's features are PyTorch's."""

import jax
import numpy as np
import pytest

import jaxvision as jv
from tests.marks import slow
from tests.oracles import releases
from tests.oracles.parity import arrays, difference, first, image_of, randomised, torch

timm = pytest.importorskip("timm", reason="timm is not installed: the releases are NOT compared with it")
torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: the releases are NOT compared with it")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def arrays_of(tensors: dict) -> dict:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def vit(**options):
    return randomised(timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=0, depth=2, **options)).eval()


def our_vit(**fields):
    return jv.create_model("vit_tiny_patch16_224", image_size=32, patch_size=8, num_classes=0).clone(depth=2, **fields)


def check(model, network, path, checkpoint, *, size: int = 32, strength: float = 1.0, **options) -> dict:
    """Save, load, and compare the pooled features with the network's; gives the variables."""
    torch.save(checkpoint, path)
    variables, image = jv.weights.load(model, path, **options), np.float32(strength) * image_of(2, size, size, 3)
    with torch.no_grad():
        assert difference(jax.jit(model.apply)(variables, image), network(first(image))) <= 1e-4
    return variables


def test_dino_gives_its_teacher_or_its_student(tmp_path):
    teacher, student = vit(), vit()
    with torch.no_grad():
        student.norm.bias += torch.randn(192)
    full = releases.dino(teacher, student)
    check(our_vit(), teacher, tmp_path / "checkpoint.pth", full)
    check(our_vit(), student, tmp_path / "checkpoint.pth", full, key="student", layout="dino")
    for options in ({}, {"layout": "dino"}):  # the backbone alone, under timm's names
        check(our_vit(), teacher, tmp_path / "dino_vit_pretrain.pth", teacher.state_dict(), **options)


def test_dino_with_a_residual_network(tmp_path):
    network = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])
    network = randomised(network).eval()
    network.fc = torch.nn.Identity()
    head = {f"module.head.{name}": tensor for name, tensor in releases.dino_head(512).items()}
    state = {f"module.backbone.{name}": tensor for name, tensor in network.state_dict().items()} | head
    model = jv.create_model("resnet18", num_classes=0).clone(depths=(1, 1, 1, 1))
    check(model, network, tmp_path / "a.pth", {"teacher": state, "student": state}, size=64)


@pytest.mark.parametrize("registers", [slow(0), 4])
@pytest.mark.parametrize("chunks", [0, slow(1), 2])
def test_dinov2(tmp_path, registers, chunks):
    network = vit(init_values=0.5, reg_tokens=registers, no_embed_class=registers > 0)
    form = our_vit().form._replace(registers=registers, layer_scale=1e-5)
    checkpoint = releases.dinov2(network, chunks=chunks)
    variables = check(our_vit(form=form), network, tmp_path / "dinov2_pretrain.pth", checkpoint)
    assert variables["params"]["stem"]["position"].shape == (16 + (registers == 0), 192)
    if chunks:
        training = {"teacher": {f"backbone.{name}": t for name, t in checkpoint.items()} | {"dino_head.mlp.0.weight": torch.ones(2, 2)}}
        check(our_vit(form=form), network, tmp_path / "teacher_checkpoint.pth", training)


def test_dinov2_with_gated_perceptrons_and_another_grid(tmp_path):
    options = {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU, "mlp_ratio": 2 * 8 / 3, "init_values": 0.5}
    network = vit(**options, reg_tokens=4, no_embed_class=True)
    form = our_vit().form._replace(registers=4, layer_scale=1e-5, gated=True)
    check(our_vit(form=form), network, tmp_path / "dinov2_vitg14_reg4_pretrain.pth", releases.dinov2(network))
    smaller = jv.weights.load(our_vit(form=form, image_size=16), tmp_path / "dinov2_vitg14_reg4_pretrain.pth", grid=(2, 2))
    assert smaller["params"]["stem"]["position"].shape == (4, 192)


def test_mae_with_and_without_its_decoder(tmp_path):
    network = vit()
    encoder = dict(network.state_dict())
    check(our_vit(), network, tmp_path / "mae_pretrain_vit_base.pth", {"model": encoder})
    whole = {"model": encoder | releases.mae_decoder(192, 16, 8)}
    variables = check(our_vit(), network, tmp_path / "mae_visualize_vit_base.pth", whole, layout="mae")
    pooled = jv.weights.load(our_vit(pool="mean"), tmp_path / "mae_visualize_vit_base.pth")
    assert jax.tree.all(jax.tree.map(np.array_equal, pooled, variables))
    alone = jv.weights.load(our_vit(pool="mean"), tmp_path / "mae_pretrain_vit_base.pth", layout="mae")  # its names are timm's
    assert jax.tree.all(jax.tree.map(np.array_equal, alone, variables))


@pytest.mark.parametrize("name", ["convnextv2_atto", *map(slow, ("convnextv2_tiny", "convnext_tiny"))])
def test_convnext_as_its_authors_save_it(tmp_path, name):
    options = {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32), "num_classes": 5}
    network = randomised(timm.create_model(name, **options), gain=1.0).eval()
    model = jv.create_model(name, num_classes=5).clone(depths=(1, 1, 2, 1), widths=(8, 16, 24, 32))
    checkpoint = releases.convnext(network)
    variables = check(model, network, tmp_path / "a.pt", checkpoint, size=64)
    back = jv.weights.to_torch(model, variables, layout="official")
    theirs = {name: tensor.numpy() for name, tensor in checkpoint["model"].items()}
    assert back.keys() == theirs.keys() and all(np.array_equal(back[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("name", ["convnextv2_atto", slow("convnextv2_tiny")])
def test_fcmae_from_the_dense_and_the_sparse_engine(tmp_path, name, sparse):
    options = {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32), "num_classes": 0}
    network = randomised(timm.create_model(name, **options), gain=1.0).eval()
    with torch.no_grad():
        network.head.norm.weight.fill_(1)
        network.head.norm.bias.fill_(0)
    model = jv.create_model(name, num_classes=0).clone(depths=(1, 1, 2, 1), widths=(8, 16, 24, 32))
    variables = check(model, network, tmp_path / "a.pt", releases.fcmae(network, sparse=sparse), size=64, layout="fcmae")
    assert np.all(variables["params"]["norm"]["scale"] == 1)


def small_resnet():
    network = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])
    network = randomised(network).eval()
    network.fc = torch.nn.Identity()
    return network, lambda **options: jv.create_model("resnet18", num_classes=0, **options).clone(depths=(1, 1, 1, 1))


@pytest.mark.parametrize("counted", [True, slow(False)])
def test_simclr_by_lightly(tmp_path, counted):
    network, ours = small_resnet()
    checkpoint = releases.lightly(network, counted=counted)
    check(ours(), network, tmp_path / "a.ckpt", checkpoint, size=64)
    begins = "backbone."
    backbone = {name.removeprefix(begins): tensor for name, tensor in checkpoint["state_dict"].items() if name.startswith(begins)}
    check(ours(), network, tmp_path / "b.pth", {"resnet18_parameters": backbone}, size=64)
    with pytest.raises(ValueError, match="^tensors:") as refused:
        jv.weights.from_torch(our_vit(), arrays_of(backbone))
    assert "would fit" not in str(refused.value)  # no prefix makes a residual network a transformer


def test_lightlys_own_network_for_small_images(tmp_path):
    network, ours = small_resnet()
    network.conv1, network.maxpool = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False), torch.nn.Identity()
    check(ours(stem="cifar"), randomised(network), tmp_path / "a.ckpt", releases.lightly(network, own=True))


@pytest.mark.parametrize("backbone", ["backbone", slow("encoder")])
def test_simclr_by_solo_learn(tmp_path, backbone):
    network, ours = small_resnet()
    check(ours(), network, tmp_path / "a.ckpt", releases.solo(network, backbone=backbone), size=64)
    network.conv1, network.maxpool = torch.nn.Conv2d(3, 64, 3, padding=2, bias=False), torch.nn.Identity()
    checkpoint = releases.solo(randomised(network), backbone=backbone)
    check(ours(stem="padded"), network, tmp_path / "b.ckpt", checkpoint)
    with pytest.raises(ValueError, match="^tensors: .*stem='padded'"):
        jv.weights.load(ours(stem="cifar"), tmp_path / "b.ckpt")


def test_a_release_stays_strict():
    network = vit()
    tensors = arrays(network) | {name: tensor.numpy() for name, tensor in releases.mae_decoder(192, 16, 8).items()}
    with pytest.raises(ValueError, match="surprise"):
        jv.weights.from_torch(our_vit(), tensors | {"surprise": np.zeros(3)})
    with pytest.raises(ValueError, match=r"missing .*norm.bias \[192\]"):
        jv.weights.from_torch(our_vit(), {name: tensor for name, tensor in tensors.items() if name != "norm.bias"})
    with pytest.raises(ValueError, match=r"(?s)head.weight \[5, 192\].*drop_head=True"):
        jv.weights.from_torch(our_vit(num_classes=5), tensors)
    with pytest.raises(ValueError, match="^layout:"):
        jv.weights.from_torch(our_vit(), tensors, layout="dino")
    with pytest.raises(ValueError, match="^layout:"):
        jv.weights.from_torch(our_vit(), arrays(network), layout="lightly")


def test_tensorflows_checkpoint_is_refused_with_a_sentence(tmp_path):
    names = ("model.ckpt-250228.index", "model.ckpt-250228.meta", "model.ckpt-250228.data-00000-of-00001")
    folder = tmp_path / "r50_1x_sk0"
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"\0" * 8)
    for path in (folder, folder / names[0], folder / names[2], folder / "model.ckpt-250228"):
        with pytest.raises(jv.weights.BrokenFile, match="^path: .*SimCLR"):
            jv.weights.read(path)
    with pytest.raises(ValueError, match="^tensors:"):
        jv.weights.from_torch(our_vit(), {"base_model/conv2d/kernel": np.zeros((7, 7, 3, 64))})

"""Decoders, heads and projectors of the releases: the objectives' modules compute with them what PyTorch computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from jaxvision.layers import Projector, PrototypeHead
from tests.marks import slow
from tests.oracles import releases
from tests.oracles.parity import difference, first, image_of, randomised, torch

timm = pytest.importorskip("timm", reason="timm is not installed: the releases are NOT compared with it")
torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: the releases are NOT compared with it")
functional = torch.nn.functional


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def vit():
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=0, depth=1)
    model = jv.create_model("vit_tiny_patch16_224", image_size=32, patch_size=8, num_classes=0).clone(depth=1)
    return randomised(network).eval(), model


def loaded(model, path, checkpoint, **options):
    torch.save(checkpoint, path)
    return jv.weights.method_from_torch(model, jv.weights.read(path), **options)


def painted(network, tensors: dict, image, keep) -> torch.Tensor:
    """The prediction of a masked autoencoder with timm's blocks: kept patches, then the decoder over all places."""
    width = tensors["mask_token"].shape[-1]
    blocks = torch.nn.Sequential(timm.models.vision_transformer.Block(width, 16, qkv_bias=True, norm_layer=network.norm.__class__))
    blocks.load_state_dict({name.removeprefix("decoder_blocks."): t for name, t in tensors.items() if name.startswith("decoder_blocks.")})
    for block in blocks:
        block.norm1.eps = block.norm2.eps = 1e-6
    tokens = network.patch_embed(first(image)) + network.pos_embed[:, 1:]
    kept = torch.gather(tokens, 1, torch.tensor(keep)[:, :, None].expand(-1, -1, tokens.shape[-1]))
    kept = torch.cat([(network.cls_token + network.pos_embed[:, :1]).expand(len(image), -1, -1), kept], dim=1)
    seen = functional.linear(network.norm(network.blocks(kept)), tensors["decoder_embed.weight"], tensors["decoder_embed.bias"])
    places = tensors["mask_token"].expand(len(image), tokens.shape[1], -1).clone()
    for row, kept_places in enumerate(keep):
        places[row, kept_places] = seen[row, 1:]
    full = blocks(torch.cat([seen[:, :1], places], dim=1) + tensors["decoder_pos_embed"])
    normed = functional.layer_norm(full, (width,), tensors["decoder_norm.weight"], tensors["decoder_norm.bias"], 1e-6)
    return functional.linear(normed, tensors["decoder_pred.weight"], tensors["decoder_pred.bias"])[:, 1:]


def hidden_patches(pictures, side: int) -> np.ndarray:
    """[B, N] bool: the patches that differ between the masked images and the original ones."""
    masked, original = (np.asarray(jv.objectives.patchify(image, side)) for image in (pictures.masked, pictures.original))
    return np.any(masked != original, axis=-1)


@pytest.mark.slow
def test_mae_reconstructs_as_pytorch_does(tmp_path):
    network, model = vit()
    tensors = dict(network.state_dict()) | releases.mae_decoder(192, 16, 8, decoder_width=32)
    params = loaded(model, tmp_path / "mae_visualize_vit_base.pth", {"model": tensors})
    image = image_of(2, 32, 32, 3)
    pictures = jv.objectives.mae_reconstruction(model, params, image, key=jax.random.key(0), normalize_target=False)
    hidden = hidden_patches(pictures, 8)
    keep = np.stack([np.flatnonzero(~row) for row in hidden])
    assert keep.shape == (2, 4)
    with torch.no_grad():
        theirs = painted(network, tensors, image, keep)
    assert difference(np.asarray(jv.objectives.patchify(pictures.reconstruction, 8))[hidden], theirs[torch.tensor(hidden)]) <= 1e-4
    fresh, _ = jv.objectives.mae(model, depth=1, width=32).init(jax.random.key(0), {"image": image}, params)
    assert jax.tree.all(jax.tree.map(np.array_equal, fresh, params))


def test_a_mae_without_its_decoder_raises_an_error(tmp_path):
    network, model = vit()
    with pytest.raises(ValueError, match="^tensors: .*mae_visualize"):
        loaded(model, tmp_path / "mae_pretrain_vit_base.pth", {"model": network.state_dict()})
    tensors = dict(network.state_dict()) | releases.mae_decoder(192, 16, 8, decoder_width=32)
    for change, name in (
        ({"decoder_norm.bias": None}, "decoder_norm.bias"),
        ({"decoder_surprise": torch.ones(2)}, "decoder_surprise"),
        ({"decoder_pos_embed": torch.ones(1, 17, 32)}, "^decoder_pos_embed:"),
    ):
        changed = {name: tensor for name, tensor in (tensors | change).items() if tensor is not None}
        with pytest.raises(ValueError, match=name):
            loaded(model, tmp_path / "b.pth", {"model": changed})


@pytest.mark.slow
def test_fcmae_decodes_as_pytorch_does(tmp_path):
    options = {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32), "num_classes": 0}
    network = randomised(timm.create_model("convnextv2_atto", **options), gain=1.0).eval()
    model = jv.create_model("convnextv2_atto", num_classes=0).clone(depths=(1, 1, 1, 1), widths=(8, 16, 24, 32))
    checkpoint = releases.fcmae(network, sparse=True)
    tensors, params = checkpoint["model"], loaded(model, tmp_path / "a.pt", checkpoint)
    image = image_of(2, 96, 96, 3)
    pictures = jv.objectives.fcmae_reconstruction(model, params, image, key=jax.random.key(0), normalize_target=False)
    places = hidden_patches(pictures, 32)
    mask = places.reshape(2, 3, 3).astype(np.float32)
    maps = model.apply({"params": params["encoder"]}, image, method="features", mask=jnp.asarray(mask)).maps
    last = min(maps.values(), key=lambda values: values.shape[1])  # tests/weights/test_releases.py compares the encoder
    there = {name.removeprefix("decoder.0."): tensor for name, tensor in tensors.items() if name.startswith("decoder.0.")}
    hidden = torch.tensor(mask)[:, None]
    x = functional.conv2d(first(last), tensors["proj.weight"], tensors["proj.bias"])
    x = x * (1 - hidden) + tensors["mask_token"] * hidden
    branch = functional.conv2d(x, there["dwconv.weight"], there["dwconv.bias"], padding=3, groups=8).permute(0, 2, 3, 1)
    branch = functional.layer_norm(branch, (8,), there["norm.weight"], there["norm.bias"], 1e-6)
    branch = functional.gelu(functional.linear(branch, there["pwconv1.weight"], there["pwconv1.bias"]))
    energy = branch.norm(dim=(1, 2), keepdim=True)
    branch = there["grn.gamma"] * branch * energy / (energy.mean(-1, keepdim=True) + 1e-6) + there["grn.beta"] + branch
    x = x + functional.linear(branch, there["pwconv2.weight"], there["pwconv2.bias"]).permute(0, 3, 1, 2)
    expected = functional.conv2d(x, tensors["pred.weight"], tensors["pred.bias"]).flatten(2).transpose(1, 2)
    ours = np.asarray(jv.objectives.patchify(pictures.reconstruction, 32))[places]
    assert difference(ours, expected[torch.tensor(places)]) <= 1e-4
    with pytest.raises(ValueError, match="^tensors: .*decoder"):
        loaded(model, tmp_path / "b.pt", releases.fcmae(network, sparse=False))
    image = {"image": image_of(2, 64, 64, 3)}
    fresh, _ = jv.objectives.fcmae(model, width=8).init(jax.random.key(0), image, params)
    assert jax.tree.all(jax.tree.map(np.array_equal, fresh, {**params, "encoder": fresh["encoder"]}))


@pytest.mark.parametrize("norms", [slow(False), True])
@pytest.mark.parametrize("key", [slow("teacher"), "student"])
def test_dinos_head(tmp_path, key, norms):
    network, model = vit()
    checkpoint = releases.dino(network, network, norms=norms)
    torch.save(checkpoint, tmp_path / "checkpoint.pth")
    params = jv.weights.method_from_torch(model, jv.weights.read(tmp_path / "checkpoint.pth", key=key))
    features, mark = image_of(5, 192), "module.head." if key == "student" else "head."
    there = {name.removeprefix(mark): tensor for name, tensor in checkpoint[key].items() if name.startswith(mark)}
    head = PrototypeHead(12, 10, 6, batch_norm=norms)
    (embeddings, prototypes), _ = head.apply({"params": params["head"]}, features, train=True, mutable=["batch_stats"])
    unit = lambda rows: rows / jnp.linalg.norm(rows, axis=-1, keepdims=True)  # noqa: E731
    layers = releases.dino_mlp(192, norms=norms)
    layers.load_state_dict({name.removeprefix("mlp."): tensor for name, tensor in there.items() if name.startswith("mlp.")})
    expected = functional.normalize(layers.train()(torch.tensor(features))) @ functional.normalize(there["last_layer.weight_v"]).T
    assert difference(unit(embeddings) @ unit(prototypes).T, expected) <= 1e-4
    views = {"views": np.zeros((2, 2, 32, 32, 3), np.float32)}
    objective = jv.objectives.dino(model, prototypes=12, hidden=10, bottleneck=6, batch_norm=norms)
    fresh, _ = objective.init(jax.random.key(0), views, params)
    assert jax.tree.all(jax.tree.map(np.array_equal, fresh["head"], params["head"]))


def test_dino_with_trained_gains_is_refused():
    network, model = vit()
    state = {name: tensor.numpy() for name, tensor in releases.dino(network, network)["teacher"].items()}
    with pytest.raises(ValueError, match="^last_layer.weight_g:"):
        jv.weights.method_from_torch(model, state | {"head.last_layer.weight_g": np.full((12, 1), 1.5, np.float32)})


def small_resnet():
    network = randomised(torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1]))
    return network, jv.create_model("resnet18", num_classes=0).clone(depths=(1, 1, 1, 1))


@pytest.mark.slow
def test_lightlys_projector_and_what_solo_learns_lacks(tmp_path):
    network, model = small_resnet()
    checkpoint = releases.lightly(network)
    params = loaded(model, tmp_path / "a.ckpt", checkpoint)
    there = {name.rpartition("layers.")[2]: t for name, t in checkpoint["state_dict"].items() if name.startswith("projection_head.")}
    head = torch.nn.Sequential(
        torch.nn.Linear(512, 512, bias=False),
        torch.nn.BatchNorm1d(512),
        torch.nn.ReLU(),
        torch.nn.Linear(512, 8, bias=False),
        torch.nn.BatchNorm1d(8),
    )
    head.load_state_dict(there)
    features, projector = image_of(6, 512), Projector(8, last_norm=True)
    ours, _ = projector.apply({"params": params["projector"]}, features, train=True, mutable=["batch_stats"])
    assert difference(ours, head.train()(torch.tensor(features))) <= 1e-4
    objective = jv.objectives.simclr(model, projection=8)
    fresh, carry = objective.init(jax.random.key(0), {"views": np.zeros((1, 2, 32, 32, 3), np.float32)}, params)
    assert jax.tree.all(
        jax.tree.map(np.array_equal, {"params": fresh["encoder"], "batch_stats": carry.stats["encoder"]}, params["encoder"])
    )
    np.testing.assert_array_equal(carry.stats["encoder"]["stem"]["norm"]["mean"], network.bn1.running_mean.numpy())
    with pytest.raises(ValueError, match="^tensors: .*projector"):
        loaded(model, tmp_path / "b.ckpt", releases.solo(network))

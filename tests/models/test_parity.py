"""The same weights, the same image: PyTorch's, torchvision's and timm's logits, gradients and running statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from tests.marks import slow
from tests.oracles import torch_layouts
from tests.oracles.parity import image_of, randomised

torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
timm = pytest.importorskip("timm", reason="timm is not installed: parity with it is NOT checked here")


@pytest.fixture(autouse=True)
def seeded():
    """The references draw their first weights from one global generator."""
    torch.manual_seed(0)


def assert_close(ours, theirs, tolerance: float) -> None:
    """Largest difference relative to the standard deviation of the reference."""
    theirs = theirs.detach().numpy()
    assert np.max(np.abs(np.asarray(ours) - theirs)) <= tolerance * np.std(theirs)


def test_lenet_logits():
    nn = torch.nn
    trunk = [nn.Conv2d(1, 6, 5), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten()]
    network = nn.Sequential(*trunk, nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10))
    image = image_of(3, 32, 32, 1)
    ours = jv.create_model("lenet5").apply(torch_layouts.lenet(network.state_dict()), image)
    assert_close(ours, network(torch.tensor(image).permute(0, 3, 1, 2)), 1e-4)


@pytest.mark.parametrize(("name", "size"), [("resnet18", 65), ("resnet50", 64)])
def test_resnet_logits(name, size):
    network = randomised(getattr(torchvision.models, name)(num_classes=11)).eval()
    model = jv.create_model(name, num_classes=11)
    variables = torch_layouts.resnet(network.state_dict(), model.depths, 3 if model.bottleneck else 2)
    image = image_of(2, size, size + 6, 3)
    ours = jax.jit(model.apply)(variables, image)
    with torch.no_grad():
        assert_close(ours, network(torch.tensor(image).permute(0, 3, 1, 2)), 1e-4)


@pytest.mark.parametrize(("depths", "size"), [((1, 1, 1, 1), (12, 11)), slow((2, 2, 2, 2), (16, 16))])
def test_resnet_training_loss_gradients_and_statistics(depths, size):
    """In float64: in float32 a ReLU whose input is rounded across zero in one library alone moves gradients by a tenth of a percent."""
    network = randomised(torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, depths, num_classes=5)).train()
    network.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    network.maxpool = torch.nn.Identity()
    model = jv.create_model("resnet18", num_classes=5, stem="cifar").clone(depths=depths)
    variables = jax.tree.map(np.float64, torch_layouts.resnet(network.state_dict(), model.depths, 2))
    image, labels = image_of(6, *size, 3).astype(np.float64), np.array([0, 1, 2, 3, 4, 0])

    def loss(params, image):
        logits, moved = model.apply(variables | {"params": params}, image, train=True, mutable=["batch_stats"])
        return jv.losses.cross_entropy(logits, jnp.asarray(labels)), moved["batch_stats"]

    with jax.enable_x64(True):
        (ours, moved), grads = jax.tree.map(np.asarray, jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"], image))
    theirs = torch.nn.functional.cross_entropy(network.double()(torch.tensor(image).permute(0, 3, 1, 2)), torch.tensor(labels))
    theirs.backward()
    np.testing.assert_allclose(ours, theirs.item(), rtol=1e-6)
    moments = {name: parameter.grad for name, parameter in network.named_parameters()} | dict(network.named_buffers())
    wanted = torch_layouts.resnet(moments, model.depths, 2)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(wanted["params"]))
    for ours_leaf, theirs_leaf in zip(jax.tree.leaves(grads), jax.tree.leaves(wanted["params"]), strict=True):
        assert np.abs(ours_leaf - theirs_leaf).max() <= 1e-5 * max(np.abs(theirs_leaf).max(), 1e-3 * largest)
    for ours_leaf, theirs_leaf in zip(jax.tree.leaves(moved), jax.tree.leaves(wanted["batch_stats"]), strict=True):
        np.testing.assert_allclose(ours_leaf, theirs_leaf, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("pool", "final_norm"), [("token", "norm"), ("mean", "fc_norm")])
def test_vit_logits_at_its_own_and_another_size(pool, final_norm):
    options = {"img_size": 48, "patch_size": 16, "num_classes": 7, "depth": 3, "global_pool": "avg" if pool == "mean" else "token"}
    network = randomised(timm.create_model("vit_tiny_patch16_224", dynamic_img_size=True, **options)).eval()
    model = jv.create_model("vit_tiny_patch16_224", image_size=48, num_classes=7, pool=pool).clone(depth=3)
    variables = torch_layouts.vit(network.state_dict(), 3, final_norm=final_norm)
    for shape in ((48, 48), (64, 80)):
        image = image_of(2, *shape, 3)
        ours = jax.jit(model.apply)(variables, image)
        with torch.no_grad():
            assert_close(ours, network(torch.tensor(image).permute(0, 3, 1, 2)), 1e-4)


def test_vit_is_torchvisions_too():
    sizes = {"image_size": 16, "patch_size": 8, "num_layers": 2, "num_heads": 3, "hidden_dim": 192, "mlp_dim": 768, "num_classes": 5}
    network = randomised(torchvision.models.VisionTransformer(**sizes)).eval()
    torch.nn.init.normal_(network.heads.head.weight, std=0.1)
    model = jv.create_model("vit_tiny_patch16_224", image_size=16, patch_size=8, num_classes=5).clone(depth=2)
    image = image_of(2, 16, 16, 3)
    ours = jax.jit(model.apply)(torch_layouts.vit(torch_layouts.timm_names(network.state_dict()), 2), image)
    with torch.no_grad():
        assert_close(ours, network(torch.tensor(image).permute(0, 3, 1, 2)), 1e-4)


def test_vit_tokens_and_gradients():
    network = randomised(timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=3, depth=2)).eval()
    model = jv.create_model("vit_tiny_patch16_224", image_size=32, patch_size=8, num_classes=3).clone(depth=2)
    variables = torch_layouts.vit(network.state_dict(), 2)
    image = image_of(2, 32, 32, 3)
    tensor = torch.tensor(image).permute(0, 3, 1, 2).requires_grad_()
    tokens = network.forward_features(tensor)

    @jax.jit
    def features_and_gradient(image):
        grad = jax.grad(lambda image: model.apply(variables, image)[:, 1].sum())(image)
        return model.apply(variables, image, method="features"), grad

    features, ours = features_and_gradient(image)
    assert_close(features.tokens, tokens[:, 1:], 1e-4)
    assert_close(features.pooled, tokens[:, 0], 1e-4)
    network(tensor)[:, 1].sum().backward()
    assert_close(ours, tensor.grad.permute(0, 2, 3, 1), 1e-3)


@pytest.mark.slow
def test_initialisation_has_the_references_deviation():
    """Standard deviations of every kernel, against freshly made references."""
    for name, network, layout in (
        ("resnet18", torchvision.models.resnet18(num_classes=10), lambda tensors: torch_layouts.resnet(tensors, (2, 2, 2, 2), 2)),
        (
            "vit_tiny_patch16_224",
            timm.create_model("vit_tiny_patch16_224", num_classes=10, depth=2),
            lambda tensors: torch_layouts.vit(tensors, 2),
        ),
    ):
        model = jv.create_model(name, num_classes=10)
        model = model.clone(depth=2) if "vit" in name else model
        ours = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 224, 224, 3)))["params"]
        theirs = layout(network.state_dict())["params"]
        ours, theirs = (
            {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)} for tree in (ours, theirs)
        )
        assert ours.keys() == theirs.keys()
        for path, leaf in theirs.items():
            assert ours[path].shape == leaf.shape
            if leaf.size > 2000:
                np.testing.assert_allclose(np.std(ours[path]), np.std(leaf), rtol=0.1, err_msg=f"{name} {path}")

"""The same weights, the same image: torchvision's and timm's logits, gradients and running statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from tests.oracles import torch_layouts

torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: parity with it is NOT checked here")
timm = pytest.importorskip("timm", reason="timm is not installed: parity with it is NOT checked here")


def randomised(network, seed: int = 0):
    """Every parameter and statistic away from its initial value: zeros and ones would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif "num_batches" not in name and tensor.ndim == 1:
            center = 1.0 if name.endswith("weight") else 0.0
            tensor.copy_(center + 0.2 * torch.randn(tensor.shape, generator=generator))
        elif "token" in name or "pos_embed" in name:
            tensor.copy_(0.2 * torch.randn(tensor.shape, generator=generator))
    return network


def image_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def assert_close(ours, theirs, tolerance: float) -> None:
    """Largest difference relative to the spread of the reference."""
    theirs = theirs.detach().numpy()
    assert np.max(np.abs(np.asarray(ours) - theirs)) <= tolerance * np.std(theirs)


@pytest.mark.parametrize(("name", "size"), [("resnet18", 65), ("resnet50", 64)])
def test_resnet_logits(name, size):
    network = randomised(getattr(torchvision.models, name)(num_classes=11)).eval()
    model = jv.create_model(name, num_classes=11)
    variables = torch_layouts.resnet(network.state_dict(), model.depths, 3 if model.bottleneck else 2)
    image = image_of(2, size, size + 6, 3)
    ours = jax.jit(model.apply)(variables, image)
    with torch.no_grad():
        assert_close(ours, network(torch.tensor(image).permute(0, 3, 1, 2)), 1e-4)


def test_resnet_training_loss_gradients_and_statistics():
    network = randomised(torchvision.models.resnet18(num_classes=5)).train()
    network.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    network.maxpool = torch.nn.Identity()
    model = jv.create_model("resnet18", num_classes=5, stem="cifar")
    variables = torch_layouts.resnet(network.state_dict(), model.depths, 2)
    image, labels = image_of(6, 16, 16, 3), np.array([0, 1, 2, 3, 4, 0])

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        logits, _ = model.apply(variables | {"params": params}, image, train=True, mutable=["batch_stats"])
        return jv.losses.cross_entropy(logits, jnp.asarray(labels))

    ours, grads = loss(variables["params"])
    _, moved = jax.jit(lambda: model.apply(variables, image, train=True, mutable=["batch_stats"]))()
    theirs = torch.nn.functional.cross_entropy(network(torch.tensor(image).permute(0, 3, 1, 2)), torch.tensor(labels))
    theirs.backward()
    np.testing.assert_allclose(ours, theirs.item(), rtol=1e-5)
    wanted = torch_layouts.resnet(
        {name: parameter.grad for name, parameter in network.named_parameters()}
        | {name: tensor for name, tensor in network.named_buffers()},
        model.depths,
        2,
    )
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(wanted["params"]))
    for ours_leaf, theirs_leaf in zip(jax.tree.leaves(grads), jax.tree.leaves(wanted["params"]), strict=True):
        assert np.abs(ours_leaf - theirs_leaf).max() <= 1e-3 * min(largest, max(np.abs(theirs_leaf).max(), 1e-3 * largest))
    for ours_leaf, theirs_leaf in zip(jax.tree.leaves(moved["batch_stats"]), jax.tree.leaves(wanted["batch_stats"]), strict=True):
        np.testing.assert_allclose(ours_leaf, theirs_leaf, rtol=2e-4, atol=2e-5)


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
            assert_close(ours, network(torch.tensor(image).permute(0, 3, 1, 2)), 1e-4 if shape == (48, 48) else 3e-4)


def test_vit_tokens_and_gradients():
    network = randomised(timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=3, depth=2)).eval()
    model = jv.create_model("vit_tiny_patch16_224", image_size=32, patch_size=8, num_classes=3).clone(depth=2)
    variables = torch_layouts.vit(network.state_dict(), 2)
    image = image_of(2, 32, 32, 3)
    tensor = torch.tensor(image).permute(0, 3, 1, 2).requires_grad_()
    tokens = network.forward_features(tensor)
    features = model.apply(variables, image, method="features")
    assert_close(features.tokens, tokens[:, 1:], 1e-4)
    assert_close(features.pooled, tokens[:, 0], 1e-4)
    network(tensor)[:, 1].sum().backward()
    ours = jax.grad(lambda image: model.apply(variables, image)[:, 1].sum())(jnp.asarray(image))
    assert_close(ours, tensor.grad.permute(0, 2, 3, 1), 1e-3)


def test_initialisation_has_the_references_spread():
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

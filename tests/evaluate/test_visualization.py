"""Patches with large activations, and pixel gradients with three backward passes of ReLU, compared with PyTorch and with loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from tests.marks import slow
from tests.oracles.parity import first, randomised, torch

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed: visualisation is NOT compared with PyTorch")
DRAW = np.random.default_rng(0)


@pytest.fixture(scope="module")
def pair():
    """A small residual network of torchvision, and ours with its weights."""
    torch.manual_seed(0)
    network = randomised(torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])).eval()
    model = jv.create_model("resnet18").clone(depths=(1, 1, 1, 1))
    return network, model, jv.weights.from_torch(model, {name: tensor.numpy() for name, tensor in network.state_dict().items()})


class Rectified(torch.autograd.Function):
    """ReLU with another backward pass."""

    @staticmethod
    def forward(context, x, gated):
        context.save_for_backward(x)
        context.gated = gated
        return x.clamp(min=0)

    @staticmethod
    def backward(context, signal):
        (x,) = context.saved_tensors
        signal = signal.clamp(min=0)
        return (signal * (x > 0) if context.gated else signal), None


def torch_gradient(network, image, channel: int, backward: str) -> np.ndarray:
    """The gradient of the largest activation of a channel after layer 2, in PyTorch."""
    pixels = first(image[None]).requires_grad_()
    relu = torch.relu if backward == "gradient" else lambda x: Rectified.apply(x, backward == "guided")

    def block(x, layer):
        inner = layer.bn2(layer.conv2(relu(layer.bn1(layer.conv1(x)))))
        return relu(inner + (layer.downsample(x) if layer.downsample else x))

    x = network.maxpool(relu(network.bn1(network.conv1(pixels))))
    x = block(block(x, network.layer1[0]), network.layer2[0])
    x[0, channel].max().backward()
    return pixels.grad[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("backward", [slow("gradient"), slow("deconvnet"), "guided"])
def test_gradients_equal_pytorch(pair, backward):
    network, model, variables = pair
    image = DRAW.random((48, 40, 3)).astype(np.float32)
    ours = np.asarray(jv.evaluate.feature_gradient(model, variables, image, "stride8", 5, backward=backward))
    expected = torch_gradient(network, image, 5, backward)
    assert ours.shape == image.shape
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


def test_backward_passes_differ_and_invalid_arguments_are_refused(pair):
    _, model, variables = pair
    image = DRAW.random((32, 32, 3)).astype(np.float32)
    backwards = ("gradient", "deconvnet", "guided")
    gradients = [jv.evaluate.feature_gradient(model, variables, image, "stride8", 0, backward=name) for name in backwards]
    assert all(float(jnp.abs(a - b).max()) > 0 for a, b in itertools.combinations(gradients, 2))
    for arguments, named in (
        ({"backward": "smooth"}, "backward"),
        ({"map_name": "stride3"}, "map_name"),
        ({"channel": 128}, "channel"),
        ({"image": image[None]}, "image"),
    ):
        with pytest.raises(ValueError, match=named):
            jv.evaluate.feature_gradient(model, variables, **{"image": image, "map_name": "stride8", "channel": 0} | arguments)


def test_a_transformer_has_gradients_but_no_relu():
    model = jv.create_model("vit_tiny_patch16_224", image_size=16, patch_size=8, num_classes=0).clone(depth=1)
    image = DRAW.random((16, 24, 3)).astype(np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), image[None])
    assert float(jnp.abs(jv.evaluate.feature_gradient(model, variables, image, "tokens", 3)).max()) > 0
    with pytest.raises(ValueError, match="backward"):
        jv.evaluate.feature_gradient(model, variables, image, "tokens", 3, backward="guided")


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_patches_equal_those_of_a_loop_over_all_positions(pair, kind):
    _, model, variables = pair
    images = DRAW.random((11, 32, 48, 3))
    images = (255 * images).astype(np.uint8) if kind is np.uint8 else images.astype(np.float32)
    patches, values = jv.evaluate.top_patches(model, variables, images, "stride8", (2, 7), size=10, count=4, batch_size=4)
    assert patches.shape == (2, 4, 10, 10, 3) and patches.dtype == kind and values.shape == (2, 4)
    pixels = images.astype(np.float32) / (255 if kind is np.uint8 else 1)
    maps = np.asarray(model.apply(variables, pixels, method="features").maps["stride8"])
    for row, channel in enumerate((2, 7)):
        found = sorted(((maps[n, :, :, channel].max(), n) for n in range(11)), reverse=True)[:4]
        np.testing.assert_allclose(values[row], [value for value, _ in found], rtol=1e-4)
        for column, (_, n) in enumerate(found):
            r, c = np.unravel_index(maps[n, :, :, channel].argmax(), maps.shape[1:3])
            top, left = (int(np.clip(round((index + 0.5) * 8 - 5), 0, side - 10)) for index, side in ((r, 32), (c, 48)))
            np.testing.assert_array_equal(patches[row, column], images[n, top : top + 10, left : left + 10])


def test_top_patches_refuses_invalid_arguments(pair):
    _, model, variables = pair
    images = np.zeros((3, 32, 32, 3), np.uint8)
    for arguments, named in (
        ({"count": 4}, "images"),
        ({"size": 33}, "size"),
        ({"channels": (1, 128)}, "channels"),
        ({"map_name": "tokens"}, "map_name"),
    ):
        with pytest.raises(ValueError, match=named):
            options = {"images": images, "map_name": "stride8", "channels": (1,), "size": 8, "count": 2} | arguments
            jv.evaluate.top_patches(model, variables, **options)

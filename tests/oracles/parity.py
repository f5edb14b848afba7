"""A network of PyTorch's beside ours with the same weights: logits, round trip, training loss, gradients, running statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv

torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with PyTorch is NOT checked here")
pytest.importorskip("jaxvision.weights.transforms", reason="no reader of PyTorch's weights: parity with PyTorch is NOT checked here")

DOUBLE_TOLERANCE = 5e-6


def randomised(network, *, gain: float = 2.0):
    """Biases, scales and statistics away from their initial values (zeros and ones would hide mistakes); weights that keep the signal.

    With the libraries' own small first weights the logits of two images are all but equal, and a comparison would see the biases alone.
    ``gain`` is the variance of weights times their fan-in: 2 keeps the size under ReLU, less keeps ReLU6 from its upper bound.
    """
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():  # counts of batches, indices of positions
            continue
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.ndim == 1:
            center = 1.0 if name.endswith("weight") else 0.0
            tensor.copy_(center + 0.2 * torch.randn(tensor.shape, generator=generator))
        elif "pos_embed" in name or name.endswith("token"):
            tensor.normal_(0, 0.5, generator=generator)
        elif tensor.ndim > 1:
            tensor.normal_(0, (gain / tensor[0].numel()) ** 0.5, generator=generator)
    return network


def image_of(*shape: int) -> np.ndarray:
    """Noise whose strength and mean grow from image to image: pictures of plain noise would all look alike to a deep net."""
    strength = np.arange(1, shape[0] + 1).reshape(-1, *[1] * (len(shape) - 1))
    return (strength * (0.5 + np.random.default_rng(0).standard_normal(shape))).astype(np.float32)


def first(image: np.ndarray):
    """[B, H, W, C] as PyTorch's [B, C, H, W]."""
    return torch.tensor(image).permute(0, 3, 1, 2)


def arrays(network) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy().copy() for name, tensor in network.state_dict().items()}


def difference(ours, theirs) -> float:
    """Largest difference relative to how far the reference's logits are apart between images: a bias common to all does not count."""
    theirs = theirs.detach().numpy()
    return float(np.abs(np.asarray(ours) - theirs).max() / np.std(theirs - theirs.mean(0)))


def logits_difference(model, network, variables: dict, *, size: tuple[int, int], double: bool = False, strength: float = 1.0) -> float:
    """The relative difference of the logits for two images of ``size``, in float64 if asked, which leaves mistakes but no rounding."""
    image = np.float32(strength) * image_of(2, *size, 3)
    if not double:
        with torch.no_grad():
            return difference(jax.jit(model.apply)(variables, image), network(first(image)))
    with torch.no_grad(), jax.enable_x64(True):
        wide, image = jax.tree.map(np.float64, variables), image.astype(np.float64)
        return difference(np.asarray(jax.jit(model.apply)(wide, image)), network.double()(first(image)))


def rounding(network, *, size: tuple[int, int], gain: float) -> float:
    """``difference`` of the randomised network's own logits in float32 from those in float64: a deep one amplifies rounding."""
    network, image = randomised(network, gain=gain).eval(), first(image_of(2, *size, 3))
    with torch.no_grad():
        single, exact = network(image), network.double()(image.double())
    network.float()
    return difference(single, exact)


def changed(back: dict, tensors: dict) -> list[str]:
    """Names that are not in both, or whose numbers are not the same to the bit; how many batches were seen does not matter."""
    same = [name for name in back if name in tensors and ("num_batches" in name or np.array_equal(back[name], tensors[name]))]
    return sorted((set(back) | set(tensors)) - set(same))


def check_logits(
    model,
    network,
    *,
    size: tuple[int, int],
    layout: str = "torchvision",
    gain: float = 2.0,
    tolerance: float = 1e-4,
    strength: float = 1.0,
    double: bool = False,
) -> float:
    """The same logits for two images of ``size``, and the weights written back as they came; gives the relative difference.

    ``double``: in float64 too, where a wrong epsilon shows (a small network's logits move by some 1e-5). ``strength`` of the images: what
    a response normalisation divides by depends on it.
    """
    network = randomised(network, gain=gain).eval()
    tensors = arrays(network)
    variables = jv.weights.from_torch(model, tensors, layout=layout)
    found = logits_difference(model, network, variables, size=size, strength=strength)
    assert found <= tolerance
    assert not changed(jv.weights.to_torch(model, variables, layout=layout), tensors)
    if double:
        assert logits_difference(model, network, variables, size=size, strength=strength, double=True) <= DOUBLE_TOLERANCE
        network.float()
    return found


def check_training(model, network, *, size: tuple[int, int], layout: str = "torchvision", tolerance: float = 1e-3) -> None:
    """The same loss, gradients and moved statistics in training; dropout must be off in both.

    In float64: in float32 a ReLU whose input is rounded across zero in one library alone moves gradients by a tenth of a percent.
    """
    network, labels = randomised(network).train(), np.array([0, 1, 2, 1])
    image = image_of(4, *size, 3).astype(np.float64)
    variables = jax.tree.map(np.float64, jv.weights.from_torch(model, arrays(network), layout=layout))
    state = {name: tree for name, tree in variables.items() if name != "params"}

    def loss(params, image):
        rest = {"mutable": ["batch_stats", "auxiliary"], "rngs": {"dropout": jax.random.key(0)}}
        logits, moved = model.apply(state | {"params": params}, image, train=True, **rest)
        return jv.losses.cross_entropy(logits.astype(image.dtype), jnp.asarray(labels)), moved.get("batch_stats", {})

    with jax.enable_x64(True):
        step = jax.jit(jax.value_and_grad(loss, has_aux=True))
        (ours, moved), grads = jax.tree.map(np.asarray, step(variables["params"], image))
    logits = network.double()(first(image))
    theirs = torch.nn.functional.cross_entropy(getattr(logits, "logits", logits), torch.tensor(labels))
    theirs.backward()
    assert abs(ours - theirs.item()) <= tolerance * abs(theirs.item())
    found = jv.weights.to_torch(model, {"params": grads} | ({"batch_stats": moved} if state else {}), layout=layout)
    wanted = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
    largest = max(float(gradient.abs().max()) for gradient in wanted.values())
    for name, gradient in wanted.items():
        bound = tolerance * max(float(gradient.abs().max()), 1e-3 * largest)
        assert np.abs(found[name] - gradient.numpy()).max() <= bound, name
    for name, buffer in network.named_buffers():
        if "num_batches" not in name:
            np.testing.assert_allclose(found[name], buffer.numpy(), rtol=tolerance, atol=1e-6, err_msg=name)

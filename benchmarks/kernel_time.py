"""Single convolutions and poolings, forward and gradients: the form that is selected on this processor, XLA's form, and PyTorch.

    python -m benchmarks.kernel_time [--layers depthwise ...] [--turns 15]

The results of all forms are compared before anything is timed. Then the forms alternate in one process. Results are ratios of times in one
round: the form that ``conv2d`` or ``max_pool`` selects over PyTorch (eager, its own layout) and over XLA. Each gradient is a separate
program; PyTorch's gradient of a pooling gets the positions that its forward pass has found.
"""

from typing import NamedTuple

import jax
import numpy as np

from benchmarks import command, reference, side_by_side
from benchmarks.side_by_side import Side
from jaxvision import kernels


class Layer(NamedTuple):
    """One convolution or pooling of a known network."""

    batch: int
    side: int
    channels: int
    features: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1


LAYERS = {
    "depthwise": {
        "ConvNeXt-T stage 1": Layer(16, 56, 96, 96, 7, padding=3, groups=96),
        "ConvNeXt-T stage 3": Layer(16, 14, 384, 384, 7, padding=3, groups=384),
        "ConvNeXt-T stage 4": Layer(16, 7, 768, 768, 7, padding=3, groups=768),
        "MobileNetV2 at 56": Layer(16, 56, 144, 144, 3, padding=1, groups=144),
        "MobileNetV2, stride 2": Layer(16, 56, 144, 144, 3, stride=2, padding=1, groups=144),
        "EfficientNet-B0 5x5 at 14": Layer(16, 14, 480, 480, 5, padding=2, groups=480),
    },
    "few": {
        "LeNet-5 first": Layer(256, 32, 1, 6, 5),
        "LeNet-5 second": Layer(256, 14, 6, 16, 5),
    },
    "product": {
        "ResNet-50 1x1 64 to 256": Layer(8, 56, 64, 256, 1),
        "ViT-S/16 patches": Layer(8, 224, 3, 384, 16, stride=16),
    },
    "dense": {
        "ResNet 3x3 64 at 56": Layer(8, 56, 64, 64, 3, padding=1),
        "ResNet 3x3 128 at 28": Layer(8, 28, 128, 128, 3, padding=1),
        "ResNet 3x3 256 at 14": Layer(8, 14, 256, 256, 3, padding=1),
        "ResNet 3x3 512 at 7": Layer(8, 7, 512, 512, 3, padding=1),
        "ResNet stem": Layer(8, 224, 3, 64, 7, stride=2, padding=3),
    },
    "pooling": {
        "ResNet 3x3, stride 2": Layer(8, 112, 64, 64, 3, stride=2, padding=1),
    },
}
PASSES = ("forward", "image gradient", "kernel gradient")
_BOUND = 1e-4


def arrays(layer: Layer) -> dict[str, np.ndarray]:
    """Image, kernel and the gradient of the output, in our layout."""
    random = np.random.default_rng(0)
    outputs = (layer.side + 2 * layer.padding - layer.kernel) // layer.stride + 1
    shapes = {
        "image": (layer.batch, layer.side, layer.side, layer.channels),
        "kernel": (layer.kernel, layer.kernel, layer.channels // layer.groups, layer.features),
        "gradient": (layer.batch, outputs, outputs, layer.features),
    }
    return {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def _pooling(function):
    """A pooling as a form of a convolution: the kernel has the size of the window and is not read."""

    def form(image, kernel, *, stride: int, padding: int, groups: int):
        return function(image, size=kernel.shape[:2], stride=(stride, stride), padding=((padding, padding), (padding, padding)))

    return form


def ours(form, layer: Layer, given: dict[str, np.ndarray], which: str) -> Side:
    """One pass of one of our forms; nothing else is computed."""
    options = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}
    image, kernel, gradient = jax.device_put([given[name] for name in ("image", "kernel", "gradient")])
    passes = {
        "forward": lambda image, kernel, gradient: form(image, kernel, **options),
        "image gradient": lambda image, kernel, gradient: jax.vjp(lambda image: form(image, kernel, **options), image)[1](gradient)[0],
        "kernel gradient": lambda image, kernel, gradient: jax.vjp(lambda kernel: form(image, kernel, **options), kernel)[1](gradient)[0],
    }
    program, last = jax.jit(passes[which]), None

    def run() -> None:
        nonlocal last
        last = jax.block_until_ready(program(image, kernel, gradient))

    return Side(run, lambda: {which: np.asarray(last)})


def theirs(layer: Layer, given: dict[str, np.ndarray], which: str, *, pooling: bool) -> Side:
    """The same pass in PyTorch, in its own layout, on the device that JAX uses."""
    import torch

    where, last = reference.device(), None
    image, gradient = (torch.from_numpy(given[name]).to(where).permute(0, 3, 1, 2).contiguous() for name in ("image", "gradient"))
    kernel = torch.from_numpy(given["kernel"]).to(where).permute(3, 2, 0, 1).contiguous()
    stride, padding = [layer.stride] * 2, [layer.padding] * 2
    wanted = [which == "image gradient", which == "kernel gradient", False]
    window = ([layer.kernel] * 2, stride, padding)
    places = torch.ops.aten.max_pool2d_with_indices(image, *window)[1] if pooling else None

    def run() -> None:
        nonlocal last
        if pooling and which == "forward":
            last = torch.nn.functional.max_pool2d(image, *window)
        elif pooling:
            last = torch.ops.aten.max_pool2d_with_indices_backward(gradient, image, *window, [1, 1], False, places)
        elif which == "forward":
            last = torch.conv2d(image, kernel, None, stride, padding, 1, layer.groups)
        else:
            options = (None, stride, padding, [1, 1], False, [0, 0], layer.groups, wanted)
            last = torch.ops.aten.convolution_backward(gradient, image, kernel, *options)[wanted.index(True)]
        reference.wait(where)

    order = (2, 3, 1, 0) if which == "kernel gradient" else (0, 2, 3, 1)
    return Side(run, lambda: {which: last.permute(*order).cpu().numpy()})


def compare(kind: str, layer: Layer, which: str, *, turns: int) -> dict[str, side_by_side.Pace]:
    """The paces of the selected form, of XLA's form and of PyTorch. Raises side_by_side.Disagreement if their results differ."""
    given, pooling = arrays(layer), kind == "pooling"
    chosen = _pooling(kernels.max_pool) if pooling else kernels.conv2d
    plain = _pooling(kernels.plain_max_pool) if pooling else kernels.plain_conv2d
    sides = {
        "ours": ours(chosen, layer, given, which),
        "XLA": ours(plain, layer, given, which),
        "PyTorch": theirs(layer, given, which, pooling=pooling),
    }
    return side_by_side.paces_of_equals(sides, bound=_BOUND, what=str(layer), turns=turns)


def main() -> None:
    """Compare each layer and pass, print each result, and write the table."""
    parser = command.parser(__doc__)
    parser.add_argument("--layers", nargs="+", default=list(LAYERS), choices=list(LAYERS))
    parser.add_argument("--turns", type=command.positive, default=15)
    given = parser.parse_args()
    reference.torchvision()
    reference.in_full_float32()
    print(f"compiled kernels: {side_by_side.machine()['compiled kernels']}", flush=True)
    for kind in given.layers:
        for name, layer in LAYERS[kind].items():
            for which in PASSES[:2] if kind == "pooling" else PASSES:
                found = compare(kind, layer, which, turns=given.turns)
                over = {side: side_by_side.ratio(found["ours"], found[side]) for side in ("PyTorch", "XLA")}
                row = {"kind": kind, "layer": name, **layer._asdict(), "pass": which}
                row |= {f"median_{side}_seconds": f"{pace.quartiles()[1]:.6f}" for side, pace in found.items()}
                row |= {f"ratio_over_{side}": str(quotient) for side, quotient in over.items()}
                path = side_by_side.write("kernel_time", [row], named_by=("kind", "layer", *Layer._fields, "pass"))
                print(f"{name}, {which}: ratio ours/PyTorch {over['PyTorch']}, ours/XLA {over['XLA']}", flush=True)
    print(f"written to {path}")
    print(f"ratio ours/PyTorch {over['PyTorch']}")


if __name__ == "__main__":
    command.run(main)

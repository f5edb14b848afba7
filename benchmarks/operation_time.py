"""Single operations of transformers and residual networks, except convolutions: ours, its reference in JAX, and PyTorch.

    python -m benchmarks.operation_time [--operations gelu ...] [--turns 15]

Value, then value and gradients, at the sizes of ViT-S/16 and ConvNeXt-T with 8 images and of the stages of ResNet-50. The results of all
forms are compared before anything is timed. Then the forms alternate in one process. Results are ratios of times in one round.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

import jaxvision as jv
from benchmarks import command, functions, reference, side_by_side
from jaxvision import kernels, layers

KINDS = ("gelu", "attention", "layer norm", "batch norm, relu", "product")
_BOUND = 1e-4


class Operation(NamedTuple):
    """The ``shapes`` of the arrays, our function, its reference implementation if there is one, and PyTorch's function."""

    shapes: tuple[tuple[int, ...], ...]
    ours: Callable
    reference: Callable | None
    theirs: Callable


def _batch_norm_relu(x, scale, bias):
    stats = {"mean": np.zeros(scale.shape, np.float32), "var": np.ones(scale.shape, np.float32)}
    variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": stats}
    return jax.nn.relu(layers.BatchNorm().apply(variables, x, train=True, mutable="batch_stats")[0])


def operations() -> dict[str, dict[str, Operation]]:
    """By kind and name."""
    import torch
    from torch.nn import functional

    heads_first = lambda array: array.transpose(1, 2)  # noqa: E731
    attend = lambda *arrays: heads_first(functional.scaled_dot_product_attention(*map(heads_first, arrays)))  # noqa: E731
    norm = lambda x, scale, bias: functional.layer_norm(x, x.shape[-1:], scale, bias, 1e-6)  # noqa: E731
    norms = [partial(form, epsilon=1e-6) for form in (kernels.layer_norm, kernels.plain_layer_norm)]
    of_norm = lambda *shape: (shape, shape[-1:], shape[-1:])  # noqa: E731

    def channels_last(x, *rest):
        return torch.relu(functional.batch_norm(x.movedim(-1, 1), None, None, *rest, training=True)).movedim(1, -1)

    return {
        "gelu": {
            name: Operation((shape,), kernels.gelu, kernels.plain_gelu, functional.gelu)
            for name, shape in {"ViT-S/16": (8, 197, 1536), "ConvNeXt-T stage 1": (8, 56, 56, 384)}.items()
        },
        "attention": {
            name: Operation((shape,) * 3, kernels.attention, kernels.plain_attention, attend)
            for name, shape in {"ViT-S/16": (8, 197, 6, 64), "ViT at 32 pixels": (64, 65, 3, 64)}.items()
        },
        "layer norm": {
            name: Operation(of_norm(*shape), *norms, norm)
            for name, shape in {"ViT-S/16": (8, 197, 384), "ConvNeXt-T stage 1": (8, 56, 56, 96)}.items()
        },
        "batch norm, relu": {
            f"ResNet-50 {side} x {side} x {width}": Operation(of_norm(8, side, side, width), _batch_norm_relu, None, channels_last)
            for side, width in ((112, 64), (56, 256), (28, 512), (14, 1024))
        },
        "product": {
            " x ".join(map(str, sizes)): Operation((sizes[:2], sizes[1:]), kernels.product, kernels.plain_product, torch.matmul)
            for sizes in ((1576, 384, 1536), (25088, 96, 384), (25088, 64, 256))
        },
    }


def compare(operation: Operation, *, backward: bool, turns: int) -> dict[str, side_by_side.Pace]:
    """The paces of ours, of the reference, and of PyTorch. Raises side_by_side.Disagreement if their results differ."""
    random = np.random.default_rng(0)
    given = [random.standard_normal(shape, np.float32) for shape in operation.shapes]
    shape = jax.eval_shape(operation.ours, *given).shape
    signal = 1 + random.standard_normal(shape, np.float32)  # its sums are large compared with one entry, which a ReLU at 0 may keep or not
    rest = range(len(given)), signal if backward else None
    sides = {"ours": functions.ours(operation.ours, given, *rest)}
    if operation.reference:
        sides["reference"] = functions.ours(operation.reference, given, *rest)
    sides["PyTorch"] = functions.theirs(operation.theirs, given, *rest)
    return side_by_side.paces_of_equals(sides, bound=_BOUND, what=str(operation.shapes), turns=turns)


def main() -> None:
    """Compare each operation, print each result, and write the table."""
    parser = command.parser(__doc__)
    parser.add_argument("--operations", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--turns", type=command.positive, default=15)
    given = parser.parse_args()
    reference.torchvision()
    reference.in_full_float32()
    known = operations()
    for kind in given.operations:
        for name, operation in known[kind].items():
            for backward in (False, True):
                found = compare(operation, backward=backward, turns=given.turns)
                over = {side: side_by_side.ratio(found["ours"], found[side]) for side in list(found)[1:]}
                which = "forward and gradients" if backward else "forward"
                row = {"kind": kind, "operation": name, "pass": which}
                row |= {f"ratio_over_{side}": str(over.get(side, "")) for side in ("PyTorch", "reference")}
                row |= {
                    f"median_{side}_seconds": f"{found[side].quartiles()[1]:.6f}" if side in found else ""
                    for side in ("ours", "PyTorch", "reference")
                }
                path = side_by_side.write("operation_time", [row], named_by=("kind", "operation", "pass"))
                text = ", ".join(f"ratio ours/{side} {quotient}" for side, quotient in over.items())
                print(f"{kind}, {name}, {which}: {text}", flush=True)
    print(f"jaxvision {jv.__version__}, written to {path}")
    print(f"ratio ours/PyTorch {over['PyTorch']}")


if __name__ == "__main__":
    command.run(main)

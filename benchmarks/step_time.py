"""One step of training or inference compared with PyTorch with the same weights: time, compile time, memory, images/s, MFU.

    python -m benchmarks.step_time [--models resnet50 ...] [--mode train infer] [--batch 8] [--dtype float32] [--turns 20]

The network of torchvision (timm if torchvision does not have it), with the same images and weights. Before anything is timed, the results
are compared: the logits of inference, and every change of a weight in one training step of SGD with momentum. If they differ, no ratio is
printed. Then the sides alternate step by step in one process: PyTorch eager, with channels_last, and compiled if there is a compiler. MFU
is the FLOPs of the model (two for each MAC, three forward passes for a training step) per second, divided by the peak of the device: from
the data sheet for an accelerator, from a measured matrix product for a CPU. Times of a CPU depend on the machine and its load: compare
ratios only.
"""

import copy
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np

import jaxvision as jv
from benchmarks import command, reference, side_by_side
from benchmarks.side_by_side import Pace, Side

MODELS = ("resnet50", "vit_small_patch16_224", "convnext_tiny")
MODES = ("train", "infer")
RATE, CLASSES = 0.01, 1000
# Largest allowed difference relative to the largest entry: logits in float32 as in docs/parity.md, bfloat16 by its 8 bits. The changes of a
# step differ by rounding, which batch statistics amplify. For the weights of ResNet-50 (batch 8) the distance from float64 is 3.7e-2 for
# PyTorch with channels_last, 1.8e-2 for eager and 2.6e-2 for ours.
_BOUNDS = {("infer", "float32"): 1e-4, ("train", "float32"): 5e-3, ("infer", "bfloat16"): 0.05, ("train", "bfloat16"): 0.1}
_BEHIND_STATISTICS = 0.08  # for changes of weights, where it is larger than the bound above
_SHEETS = {("NVIDIA H200", "bfloat16"): 989e12, ("NVIDIA H200", "float32"): 67e12}  # FLOP per second, dense, by the vendor
_STOCHASTIC = ("convnext", "efficientnet", "swin")  # families with stochastic depth in training by default


def theirs_of(name: str):
    """(PyTorch network of this name without random layers, its library). Raises ValueError if no library has it."""
    torchvision = reference.torchvision()
    import torch

    torch.manual_seed(0)  # the same weights in every run
    if hasattr(torchvision.models, name):
        options = {"stochastic_depth_prob": 0.0} if name.startswith(_STOCHASTIC) else {}
        return torchvision.models.get_model(name, **options), "torchvision"
    import timm

    if not timm.is_model(name):
        raise ValueError(f"models: neither torchvision nor timm has a {name} to compare with")
    return timm.create_model(name), "timm"


def images(batch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Float images [batch, size, size, 3] and labels."""
    random = np.random.default_rng(0)
    return random.standard_normal((batch, size, size, 3), np.float32), random.integers(0, CLASSES, batch)


def ours(name: str, layout: str, tensors: dict, image: np.ndarray, label: np.ndarray, *, mode: str, dtype: str) -> Side:
    """Our side: the model under jit, or the training step of ``jv.train``."""
    options = {"drop_path_rate": 0.0} if name.startswith(_STOCHASTIC) else {}
    model = jv.create_model(name, num_classes=CLASSES, dtype=dtype, **options)
    variables, last = jv.weights.from_torch(model, tensors), None
    if mode == "infer":
        program = jax.jit(model.apply)
        variables, image = jax.device_put((variables, image))

        def infer() -> None:
            nonlocal last
            last = jax.block_until_ready(program(variables, image))

        return Side(infer, lambda: {"logits": np.asarray(last, np.float32)}, side_by_side.memory_of(program, variables, image))
    objective, optimizer = jv.objectives.supervised(model), jv.train.momentum(RATE)
    batch, key = jax.device_put({"image": image, "label": label}), jax.random.key(0)
    state = jv.train.init(objective, optimizer, batch, key=key, given={"model": variables})
    pure = jv.train.make_step(objective, optimizer)
    step = jv.train.compile_step(pure, devices=jax.devices()[:1])
    memory = side_by_side.memory_of(jax.jit(pure, donate_argnums=0), state, batch, key)

    def train() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(step(state, batch, key))

    return Side(train, lambda: jv.weights.to_torch(model, jv.train.variables(state), layout=layout), memory)


def theirs(network, image: np.ndarray, label: np.ndarray, *, form: str, mode: str, dtype: str) -> Side:
    """The PyTorch side in one form: "eager", "channels_last" or "compiled" (with channels_last)."""
    import torch

    device = reference.device()
    order = torch.contiguous_format if form == "eager" else torch.channels_last
    network = copy.deepcopy(network).to(device, memory_format=order).train(mode == "train")
    pixels = torch.from_numpy(image).permute(0, 3, 1, 2).to(device).contiguous(memory_format=order)
    labels = torch.from_numpy(label).to(device)
    optimizer = torch.optim.SGD(network.parameters(), RATE, momentum=0.9)
    call, last = torch.compile(network) if form == "compiled" else network, None

    def run() -> None:
        nonlocal last
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"), torch.set_grad_enabled(mode == "train"):
            last = call(pixels)
            loss = torch.nn.functional.cross_entropy(last, labels) if mode == "train" else None
        if loss is not None:
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        reference.wait(device)

    def result() -> dict[str, np.ndarray]:
        found = {"logits": last} if mode == "infer" else network.state_dict()
        return {key: tensor.detach().float().cpu().numpy().copy() for key, tensor in found.items()}

    return Side(run, result, reference.memory_of(run, device))


def forms() -> list[str]:
    """The forms of PyTorch that this machine can run: ``torch.compile`` needs a C++ compiler on a CPU and has its own on a GPU."""
    compiled = jax.default_backend() == "gpu" or shutil.which("c++") or shutil.which("g++")
    return ["eager", "channels_last", *(["compiled"] if compiled else [])]


def _bounds(mode: str, dtype: str, groups: int) -> list[float]:
    """The bound of each of ``groups``, which are compared separately; see ``changes``."""
    bound = _BOUNDS[mode, dtype]
    return [bound] if groups == 1 else [max(bound, _BEHIND_STATISTICS), bound]


def changes(after: dict, before: dict) -> list[dict[str, np.ndarray]]:
    """The changes of a step: of weights, and of running statistics, which have another scale and are compared separately."""
    found = {name: np.float32(array) - before[name] for name, array in after.items() if not name.endswith("num_batches_tracked")}
    statistics = {name: change for name, change in found.items() if name.endswith(("running_mean", "running_var"))}
    return [{name: found[name] for name in found.keys() - statistics.keys()}, *([statistics] if statistics else [])]


def compare(name: str, *, mode: str, dtype: str = "float32", batch: int, size: int = 224, turns: int) -> tuple[dict[str, Pace], float]:
    """(pace of each side, largest difference between ours and any other side) for one network.

    Raises side_by_side.Disagreement if the results differ.
    """
    network, layout = theirs_of(name)
    tensors = {key: tensor.numpy().copy() for key, tensor in network.state_dict().items()}
    data = images(batch, size)
    sides = {"jaxvision": ours(name, layout, tensors, *data, mode=mode, dtype=dtype)}
    sides |= {f"PyTorch {form}": theirs(network, *data, form=form, mode=mode, dtype=dtype) for form in forms()}
    worst = 0.0

    def check() -> None:
        nonlocal worst
        found = {side: [one.result()] if mode == "infer" else changes(one.result(), tensors) for side, one in sides.items()}
        mine = found.pop("jaxvision")
        for side, other in found.items():
            for first, second, bound in zip(mine, other, _bounds(mode, dtype, len(mine)), strict=True):
                worst = max(worst, side_by_side.check_equal(first, second, bound=bound, what=f"{name}, {mode}, {side}"))

    return side_by_side.paces(sides, check, turns=turns), worst


def peak(dtype: str) -> tuple[float, str]:
    """(peak FLOP per second, source of that number)."""
    device = jax.devices()[0]
    if (device.device_kind, dtype) in _SHEETS:
        return _SHEETS[device.device_kind, dtype], "data sheet"
    side = jnp.ones((2048, 2048), dtype)
    product = jax.jit(jnp.dot)
    jax.block_until_ready(product(side, side))
    taken = []
    for _ in range(10):
        start = time.perf_counter()
        jax.block_until_ready(product(side, side))
        taken.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(taken), "best of 10 matrix products of 2048"


def flops(name: str, *, mode: str, batch: int, size: int) -> float:
    """FLOPs of one step by ``jv.report``, with all tokens of the last block of a ViT, as PyTorch computes them.

    A training step counts as three forward passes.
    """
    macs = jv.report(jv.create_model(name, num_classes=CLASSES), image_shape=(size, size, 3)).macs
    return 2.0 * macs * batch * (3 if mode == "train" else 1)


def rows(found: dict[str, Pace], *, batch: int, work: float, most: tuple[float, str], worst: float) -> list[dict]:
    """The rows of one comparison, ours first. ``work``: FLOPs of a step; ``most``: the peak of the device and its source."""
    table = []
    for side, pace in found.items():
        low, median, high = pace.quartiles()
        table.append(
            {
                "side": side,
                "first_seconds": f"{pace.first:.3f}",
                "xla_compile_seconds": f"{pace.compiling:.3f}",
                "median_seconds": f"{median:.5f}",
                "quartiles_seconds": f"{low:.5f}-{high:.5f}",
                "images_per_second": f"{batch / median:.2f}",
                "peak_mib": f"{pace.mebibytes:.0f}",
                "model_flops": f"{work:.4g}",
                "peak_flops_per_second": f"{most[0]:.4g} ({most[1]})",
                "mfu": f"{work / median / most[0]:.3f}",
                "ratio_ours_over_this": str(side_by_side.ratio(found["jaxvision"], pace)),
                "largest_difference": f"{worst:.1e}",
            }
        )
    return table


def label(row: dict[str, str]) -> str:
    """A readable name of a row."""
    return f"{row['model']}, {row['mode']}, {row['side'].removeprefix('PyTorch ')}"


def main() -> None:
    """Compare each network and mode, print each result, and write the table and its chart."""
    jv.train.keep_memory()  # as all experiment commands do; it applies to PyTorch too
    parser = command.parser(__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS, type=command.network, metavar="NAME")
    parser.add_argument("--mode", nargs="+", default=MODES, choices=MODES)
    parser.add_argument("--batch", type=command.positive, default=8)
    parser.add_argument("--size", type=command.positive, default=224, help="side of the images in pixels")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--turns", type=command.positive, default=20, help="steps of each side")
    parser.add_argument("--out", default="step_time", help="name of the table in benchmarks/results")
    given = parser.parse_args()
    for name in given.models:
        theirs_of(name)  # fails early without PyTorch
    if given.dtype == "float32":
        reference.in_full_float32()
    most = peak(given.dtype)
    for name in given.models:
        for mode in given.mode:
            options = {"mode": mode, "dtype": given.dtype, "batch": given.batch, "size": given.size}
            found, worst = compare(name, **options, turns=given.turns)
            work = flops(name, mode=mode, batch=given.batch, size=given.size)
            measured = rows(found, batch=given.batch, work=work, most=most, worst=worst)
            table = [{"model": name, **options, **row} for row in measured]
            path = side_by_side.write(given.out, table, named_by=("model", *options))
            for row in table[1:]:
                quotient = row["ratio_ours_over_this"]
                print(f"{label(row)}, batch {given.batch}, {given.dtype}, equal to {worst:.0e}: ratio ours/PyTorch {quotient}", flush=True)
    machine = side_by_side.machine()
    about = ", ".join(f"{key} {value}" for key, value in machine.items())
    equal = {"dtype": given.dtype, "batch": str(given.batch), "size": str(given.size)} | machine
    others = [row for row in side_by_side.read(path) if row["side"] != "jaxvision" and equal.items() <= row.items()]
    ratios = [side_by_side.Ratio.of(row["ratio_ours_over_this"]) for row in others]
    side_by_side.chart([label(row) for row in others], ratios, path.with_suffix(".png"), title=about)
    print(f"{about}\nwritten to {path}")
    print(f"ratio ours/PyTorch {quotient}")


if __name__ == "__main__":
    command.run(main)

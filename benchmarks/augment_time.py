"""The two views of SimCLR for 512 images at 224 pixels: our compiled program compared with torchvision v2, image by image.

    python -m benchmarks.augment_time [--rounds 9]

Both sides take uint8 images in memory and return float views in [0, 1]. They alternate in one process. A result is the ratio of their
times in one round (ours / torchvision's; below 1 we are faster): median and quartiles. torchvision runs once for each image and view with
separate draws: on uint8 tensors (all cores inside each operation, or a Python thread for each core), on float tensors and on Pillow
images, always on the CPU. Ours runs where JAX runs. "batched" draws once for a whole batch, which is a different augmentation; it is
reported only. Memory that either side frees is kept for its next run (``jv.train.keep_memory``), as in training.
"""

import collections
import importlib.metadata
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np

import jaxvision as jv
from benchmarks import command, reference, side_by_side

COUNT, SIZE = 512, 224
_WORK = ("fusion", "dot", "convolution", "custom-call", "gather", "scatter", "sort", "reduce-window", "while", "call")


def images(count: int = COUNT, size: int = SIZE) -> np.ndarray:
    """Synthetic images [count, size, size, 3] uint8: shapes on a smooth background, with noise."""
    source, draw = jv.data.shapes(count, size=size), np.random.default_rng(0)
    noise = draw.integers(0, 32, (count, size, size, 3), np.uint8)
    return np.stack([source[i]["image"] // 32 * 28 for i in range(count)]) + noise


def ours(count: int = COUNT, size: int = SIZE) -> Callable:
    """The recipe as one compiled program; a call returns when the views are computed."""
    index = np.arange(count, dtype=np.int32)
    augment, key = jv.augment.simclr(size), jax.random.key(0)
    batch = {name: jax.ShapeDtypeStruct((count,), np.int32) for name in ("index", "epoch")}
    batch["image"] = jax.ShapeDtypeStruct((count, size, size, 3), np.uint8)
    program = jax.jit(lambda key, batch: augment(key, batch)["views"]).lower(key, batch).compile()

    def run(pixels: np.ndarray, epoch: int = 0):
        return program(key, {"image": pixels, "index": index, "epoch": np.full_like(index, epoch)}).block_until_ready()

    run.program = program
    return run


def passes(text: str, elements: int) -> dict[str, int]:
    """The instructions of an optimized program's entry computation by kind, and how many write arrays of ``elements`` or more."""
    entry = text[text.index("ENTRY ") :]
    counts = collections.Counter()
    for shape, kind in re.findall(r"= \(?\w+\[([\d,]*)\][^ ]* ([\w-]+)\(", entry):
        if kind in _WORK:
            counts[kind] += 1
            counts["full passes"] += int(np.prod([int(side) for side in shape.split(",") if side])) >= elements
    return dict(counts)


def _torchvision() -> dict[str, Callable]:
    """{form: function of the images} of all forms to compare with."""
    reference.torchvision()
    import torch
    from PIL import Image
    from torchvision.transforms import v2

    torch.manual_seed(0)
    steps = [
        v2.RandomResizedCrop(SIZE, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8),
        v2.RandomGrayscale(0.2),
        v2.RandomApply([v2.GaussianBlur(23, (0.1, 2.0))], 0.5),
    ]
    to_float = v2.ToDtype(torch.float32, scale=True)
    late, early, pillow = v2.Compose([*steps, to_float]), v2.Compose([to_float, *steps]), v2.Compose([*steps, v2.ToImage(), to_float])
    cores = torch.get_num_threads()

    def each(transform: Callable, items):
        return [transform(item) for item in items for _ in range(2)]

    def shared(transform: Callable, items):
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(cores) as pool:
                return list(pool.map(lambda item: (transform(item), transform(item)), items))
        finally:
            torch.set_num_threads(cores)

    def tensors(pixels: np.ndarray):
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)

    return {
        "uint8 tensors": lambda pixels: each(late, tensors(pixels)),
        "uint8 tensors, Python threads": lambda pixels: shared(late, tensors(pixels)),
        "float tensors": lambda pixels: each(early, tensors(pixels)),
        "Pillow, Python threads": lambda pixels: shared(pillow, [Image.fromarray(image) for image in pixels]),
        "batched uint8 (one draw a batch)": lambda pixels: each(late, [tensors(pixels)]),
    }


def _seconds(function: Callable, *arguments) -> float:
    time.sleep(side_by_side.PAUSE_SECONDS)
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def tell(found: dict[str, list[tuple[float, float]]], count: int) -> None:
    """Print and write the ratios over each form of torchvision that was measured."""
    ratios = {form: side_by_side.Ratio.over(*zip(*times)) for form, times in found.items() if times}
    if not ratios:
        return
    versions = {package: importlib.metadata.version(package) for package in ("torchvision", "pillow")}
    rows = [{"form": form, "images": count, "ratio_over_this": str(quotient), **versions} for form, quotient in ratios.items()]
    for form, quotient in ratios.items():
        print(f"{form}: ratio ours/torchvision {quotient}")
    print(f"written to {side_by_side.write('augment_time', rows, named_by=('form', 'images'))}")
    print(f"ratio ours/PyTorch {next(iter(ratios.values()))}")


def main() -> None:
    """Measure, print and write the table."""
    parser = command.parser(__doc__)
    parser.add_argument("--rounds", type=command.positive, default=9)
    parser.add_argument("--count", type=command.positive, default=COUNT, help="images")
    arguments = parser.parse_args()
    jv.train.keep_memory()
    theirs, pixels, mine = _torchvision(), images(arguments.count), ours(arguments.count)
    print("our program:", passes(mine.program.as_text(), arguments.count * SIZE * SIZE), flush=True)
    mine(pixels)
    for function in theirs.values():
        function(pixels[:8])
    found: dict[str, list[tuple[float, float]]] = {form: [] for form in theirs}
    try:
        for round in range(arguments.rounds):
            for form, function in theirs.items():
                found[form].append((_seconds(mine, pixels, round), _seconds(function, pixels)))
            summary = ", ".join(f"{form} {times[-1][0] / times[-1][1]:.2f}" for form, times in found.items())
            print(f"round {round + 1}: {summary}", flush=True)
    finally:  # also after an interruption
        tell(found, arguments.count)


if __name__ == "__main__":
    command.run(main)

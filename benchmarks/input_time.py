"""Time from a folder of JPEG files to batches of random resized crops at 224, compared with PyTorch's DataLoader and ImageFolder.

    python -m benchmarks.input_time --data FOLDER_OR_ZIP_OF_PHOTOGRAPHS [--rounds 9]

Both read the same files with the same number of workers (threads here, processes there) and the same number of batches of 64 in each round.
Rounds alternate; a ratio is that of one round, and results are medians over the rounds. First the photographs (short side at least 300)
are cropped to the sizes below and saved as JPEG of quality 90. torchvision's row "uint8" ends with PILToTensor, like ours; the row "float"
ends with ToTensor, as in most recipes. With ``--accelerator`` both sides copy their batches to it.
"""

import importlib.metadata
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

import jaxvision as jv
from benchmarks import command, reference, side_by_side
from jaxvision.data import decoding, storage
from jaxvision.data.readers import image_folder

BATCH, CROP = 64, 224
SIZES = {(500, 375): 512, (2000, 1500): 128}  # (width, height): number of files; the first is about the average of ImageNet
WORKERS = (1, 2)


def photographs(data: Path) -> Iterator[Image.Image]:
    """Yield the colour photographs of a folder or archive that are large enough, repeatedly, each time with another crop."""
    files = storage.open_files(data, "data", "a folder or .zip of photographs")
    found = []
    for name in filter(image_folder.is_image, files.names):
        try:
            image = decoding.decode(files.read(name), name)
        except decoding.BrokenImage:
            continue
        if min(image.shape[:2]) >= 300 and np.ptp(image, axis=2).mean() > 3:
            found.append(Image.fromarray(image))
    if not found:
        raise ValueError(f"data: {data} holds no colour photograph with a short side of at least 300 pixels, expected some")
    random = np.random.default_rng(0)
    while True:
        for photograph in found:
            shares = random.uniform(0.7, 1, 2)
            wide, high = (int(share * side) for share, side in zip(shares, photograph.size, strict=True))
            left, top = (int(random.integers(side - part + 1)) for side, part in zip(photograph.size, (wide, high), strict=True))
            yield photograph.crop((left, top, left + wide, top + high))


def write_files(data: Path, folder: Path, size: tuple[int, int], count: int) -> float:
    """Save ``count`` JPEG files of one size in two classes; their mean size in kB."""
    lengths = []
    for number, photograph in zip(range(count), photographs(data), strict=False):
        path = folder / f"class{number % 2}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        ImageOps.fit(photograph, size, Image.Resampling.BICUBIC).save(path, quality=90)
        lengths.append(path.stat().st_size / 1000)
    return statistics.mean(lengths)


def ours(folder: Path, count: int, workers: int, place: Callable) -> Callable[[], None]:
    """A function that runs one round of jaxvision; each round is a new epoch."""
    source, rounds = jv.data.random_crops(jv.data.image_folder(folder), CROP), iter(range(10**9))

    def run() -> None:
        steps = count // BATCH
        for batch in jv.data.batches(source, BATCH, start=next(rounds) * steps, steps=steps, threads=workers):
            assert place(batch["image"]).shape == (BATCH, CROP, CROP, 3)

    return run


def theirs(folder: Path, workers: int, last: str, place: Callable) -> Callable[[], None]:
    """A function that runs one round of torchvision; its worker processes stay alive between rounds."""
    import torch
    from torchvision import datasets, transforms

    final = {"uint8": transforms.PILToTensor, "float": transforms.ToTensor}[last]()
    source = datasets.ImageFolder(folder, transforms.Compose([transforms.RandomResizedCrop(CROP), final]))
    loader = torch.utils.data.DataLoader(source, BATCH, shuffle=True, num_workers=workers, persistent_workers=True)

    def run() -> None:
        for image, _ in loader:
            assert place(image).shape == (BATCH, 3, CROP, CROP)

    return run


def measure(runs: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Seconds of each round, after one round that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for run in reversed(runs.values()):  # fork the processes before threads exist
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            found[name].append(time.perf_counter() - begin)
    return found


def _places(accelerator: bool) -> tuple[Callable, Callable]:
    """What both sides do with a batch. Without an accelerator JAX is not started: its threads do not survive PyTorch's forks."""
    if not accelerator:
        return (lambda image: image,) * 2
    import jax

    return lambda image: jax.block_until_ready(jax.device_put(image)), lambda image: image.to(reference.device())


def rows_of(data: Path, size: tuple[int, int], count: int, workers: int, rounds: int, places: tuple[Callable, Callable]) -> Iterator[dict]:
    """The rows of the table for one size and number of workers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kilobytes = write_files(data, folder, size, count)
        runs = {"jaxvision": ours(folder, count, workers, places[0])}
        runs |= {kind: theirs(folder, workers, kind, places[1]) for kind in ("uint8", "float")}
        found = measure(runs, rounds)
    cores = min(workers, os.cpu_count() or 1)
    speeds = {side: f"{count / statistics.median(times) / cores:.1f}" for side, times in found.items()}
    about = {"width": size[0], "height": size[1], "kilobytes_a_file": f"{kilobytes:.0f}", "images_a_round": count, "workers": workers}
    for kind in ("uint8", "float"):
        quotient = side_by_side.Ratio.over(found["jaxvision"], found[kind])
        both = {"ours_images_per_second_a_core": speeds["jaxvision"], "theirs_images_per_second_a_core": speeds[kind]}
        yield {**about, "torchvision": kind, "ratio_over_this": str(quotient), **both}


def tell(rows: list[dict]) -> None:
    """Write the table and print its last ratio."""
    versions = {f"{package} version": importlib.metadata.version(package) for package in ("torchvision", "pillow")}
    named_by = ("on_accelerator", "width", "height", "images_a_round", "workers", "torchvision")
    print(f"written to {side_by_side.write('input_time', [row | versions for row in rows], named_by=named_by)}")
    print(f"ratio ours/PyTorch {rows[-1]['ratio_over_this']}")


def main() -> None:
    """Measure each size and number of workers, print and write the table."""
    parser = command.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder or .zip of photographs")
    parser.add_argument("--rounds", type=command.positive, default=9, help="rounds of each side")
    parser.add_argument("--accelerator", action="store_true", help="copy the batches of both sides to the accelerator")
    arguments = parser.parse_args()
    reference.torchvision()
    rows = []
    try:
        for size, count in SIZES.items():
            for workers in WORKERS:
                for row in rows_of(arguments.data, size, count, workers, arguments.rounds, _places(arguments.accelerator)):
                    rows.append(row)
                    about = f"{row['width']} x {row['height']}, {row['workers']} workers, {row['torchvision']}"
                    speed = f"{row['ours_images_per_second_a_core']} images/s a core"
                    print(f"{about}: {speed}, ratio ours/PyTorch {row['ratio_over_this']}", flush=True)
                assert not multiprocessing.active_children(), "worker processes are left over"
    finally:  # only now: JAX, which describes the machine, must not run when PyTorch forks
        if rows:
            tell([{"on_accelerator": str(arguments.accelerator), **row} for row in rows])


if __name__ == "__main__":
    command.run(main)

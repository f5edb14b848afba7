"""Checks that training examples are the same for any number of threads, devices and processes. Writes docs/stream.md.

    python -m benchmarks.stream_hash --data FOLDER_OR_ZIP

It takes the first 1,000 examples of an image folder with train/, cropped on the host and augmented on simulated CPU devices, and computes
the SHA-256 of indices, labels and float32 pixels, and of the pixels rounded to 8 bits.
"""

import argparse
import hashlib
import json
import os
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np

import jaxvision as jv
from benchmarks import command
from benchmarks.two_processes import together
from jaxvision.kernels import native
from jaxvision.train import sharding
from jaxvision.train.step import augmented, draws

EXAMPLES, BATCH, SIZE = 1_000, 40, 64
RECIPES = {
    "three_augment": lambda: jv.augment.each(jv.augment.three_augment(SIZE)),
    "simclr": lambda: jv.augment.simclr(SIZE),
}


def hashes(data: Path, recipe: str, *, threads: int, devices, seed: int = 0) -> dict[str, str]:
    """Digests of the first examples and of their augmented pixels, exact and rounded to 8 bits."""
    source = jv.data.random_crops(jv.data.image_folder(data, "train"), SIZE + 16)
    augment, key = RECIPES[recipe](), jax.random.key(seed)
    program = sharding.compile_forward(lambda key, batch: augmented(draws(key, batch, 0).augment, batch, augment), devices=devices)
    exact, rounded = hashlib.sha256(), hashlib.sha256()
    batches = jv.data.batches(source, BATCH, seed=seed, steps=EXAMPLES // BATCH, rows=sharding.process_rows(BATCH), threads=threads)
    for batch in batches:
        found = program(key, batch)
        pixels = found["views"] if "views" in found else found["image"]
        for name in ("index", "label"):
            exact.update(np.ascontiguousarray(found[name]).tobytes())
        exact.update(np.ascontiguousarray(pixels).tobytes())
        rounded.update(np.rint(pixels * 255).astype(np.int16).tobytes())
    return {"exact": exact.hexdigest()[:16], "rounded": rounded.hexdigest()[:16]}


def rows(data: Path, recipe: str) -> list[tuple[str, dict[str, str]]]:
    """(setting, digests) for each setting."""
    one, eight = jax.devices()[:1], jax.devices()[:8]
    found = [(f"{threads} threads, 1 device", hashes(data, recipe, threads=threads, devices=one)) for threads in (0, 2, 8)]
    found.append(("2 threads, 8 devices", hashes(data, recipe, threads=2, devices=eight)))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "digests.json"
        together("benchmarks.stream_hash", ["--data", str(data), "--worker", recipe, "--out", str(out)])
        found.append(("2 threads, 2 processes x 4 devices", json.loads(out.read_text())))
    return found


def main() -> None:
    """Compute the digests for each setting and write the table."""
    parser = command.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder or .zip with train/ and a sub-folder for each class")
    for hidden in ("--worker", "--out", "--coordinator"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--process", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        jv.train.initialize_distributed(arguments.coordinator, 2, arguments.process)
        digests = hashes(arguments.data, arguments.worker, threads=2, devices=None)
        if arguments.process == 0:
            Path(arguments.out).write_text(json.dumps(digests))
        return
    lines, agree = [], True
    for recipe in RECIPES:
        found = rows(arguments.data, recipe)
        agree &= len({json.dumps(digests) for _, digests in found}) == 1
        lines += [f"| {recipe} | {setting} | `{digests['exact']}` | `{digests['rounded']}` |" for setting, digests in found]
    table = "\n".join(lines)
    text = f"""# Training examples are the same for any number of threads, devices and processes

The first {EXAMPLES:,} examples of {arguments.data.name} (train), batch {BATCH}, cropped to {SIZE + 16} pixels on the host and augmented
on the devices. The table has the first 16 digits of two SHA-256 hashes: of indices, labels and float32 pixels (exact), and of the pixels
rounded to 8 bits. All rows of a recipe are equal: {"yes" if agree else "NO"}. The hashes of different machines may differ, because the
compiled kernels ({native.instructions() or "not built"} here) and XLA round differently.

| recipe | setting | exact | 8 bits |
|---|---|---|---|
{table}

Measured with jax {jax.__version__} on {os.cpu_count()} CPU cores by `python -m benchmarks.stream_hash --data FOLDER_OR_ZIP`.
"""
    path = Path(__file__).parents[1] / "docs" / "stream.md"
    path.write_text(text, encoding="utf-8")
    print(f"{text}\nwritten to {path}")


if __name__ == "__main__":
    command.run_on_eight_devices("stream_hash", main)

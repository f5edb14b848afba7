"""What a training step costs before its first answer: tracing, compiling, and the same from the persistent cache.

    python -m benchmarks.compile_time [--models resnet50 ...] [--batch 8] [--times 3]

Each figure is of a process of its own: one with an empty cache, then one with what the first left there. Start: making the state, its
program included. Trace: from Python to XLA's input. Compile: XLA's work, or reading the cache.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import command, side_by_side

MODELS = ("resnet50", "vit_small_patch16_224", "convnext_tiny")
PARTS = ("start", "trace", "compile")


def measure(name: str, batch: int, size: int) -> dict[str, float]:
    """The seconds of each part, in this process."""
    import jax

    import jaxvision as jv

    model = jv.create_model(name, num_classes=1000)
    objective, optimizer = jv.objectives.supervised(model), jv.train.momentum(0.1)
    random = np.random.default_rng(0)
    given = {"image": random.standard_normal((batch, size, size, 3), np.float32), "label": random.integers(0, 1000, batch)}
    begun = time.perf_counter()
    state = jax.block_until_ready(jv.train.init(objective, optimizer, given, key=jax.random.key(0)))
    started = time.perf_counter()
    lowered = jax.jit(jv.train.make_step(objective, optimizer), donate_argnums=0).lower(state, given, jax.random.key(0))
    traced = time.perf_counter()
    lowered.compile()
    return dict(zip(PARTS, (started - begun, traced - started, time.perf_counter() - traced), strict=True))


def in_a_process(name: str, batch: int, size: int, cache: str) -> dict[str, float]:
    """``measure`` in a new process whose compilation cache is the folder ``cache``. Raises ValueError where it fails."""
    program = [sys.executable, "-m", "benchmarks.compile_time", "--one", name, "--batch", str(batch), "--size", str(size)]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    done = subprocess.run(program, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "no word of it").splitlines()[-1]
        raise ValueError(f"{name}: its process ended with exit code {done.returncode}: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(name: str, *, batch: int, size: int, times: int) -> list[dict]:
    """Rows of the table: with an empty cache and with a full one, the median of ``times`` pairs of processes."""
    found = {"empty": [], "full": []}
    for _ in range(times):
        with tempfile.TemporaryDirectory() as cache:
            for kind, taken in found.items():
                taken.append(in_a_process(name, batch, size, cache))
    rows = []
    for kind, taken in found.items():
        row = {"model": name, "batch": batch, "size": size, "cache": kind, "n": times}
        for part in PARTS:
            seconds = [one[part] for one in taken]
            row |= {f"{part}_seconds": f"{np.median(seconds):.2f}", f"{part}_range": f"{min(seconds):.2f}-{max(seconds):.2f}"}
        rows.append(row)
    return rows


def main() -> None:
    """Measure every model, print as it goes, write the table."""
    parser = command.parser(__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS, type=command.network, metavar="NAME")
    parser.add_argument("--batch", type=command.positive, default=8)
    parser.add_argument("--size", type=command.positive, default=224, help="side of the images in pixels")
    parser.add_argument("--times", type=command.positive, default=3, help="pairs of processes")
    parser.add_argument("--one", metavar="NAME", help="measure one model in this process and print its seconds")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, given.batch, given.size)))
        return
    table = []
    try:
        for name in given.models:
            for row in compare(name, batch=given.batch, size=given.size, times=given.times):
                table.append(row)
                print(f"{name}, cache {row['cache']}: " + ", ".join(f"{part} {row[f'{part}_seconds']} s" for part in PARTS), flush=True)
    finally:  # not before: what asks for the device here holds an accelerator's memory, which the other processes need
        if table:
            print(f"written to {side_by_side.write('compile_time', table, named_by=('model', 'batch', 'size', 'cache'))}")


if __name__ == "__main__":
    command.run(main)

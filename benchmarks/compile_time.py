"""The time before the first result of a training step: tracing and compiling, without and with the persistent cache.

    python -m benchmarks.compile_time [--models resnet50 ...] [--batch 8] [--times 3] [--alone]

Each measurement has its own process: one with an empty cache, then one with the cache that the first has written. Start: creating the
state, including its program. Trace: from Python to XLA's input. Compile: XLA, or reading the cache. Without ``--alone`` the table also has
the time by which the first step of the PyTorch network with ``torch.compile`` (channels_last) is longer than the next ones, with empty and
with full caches. The ratio is our trace plus compile time divided by that.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

import jaxvision as jv
from benchmarks import command, side_by_side, step_time

PARTS = ("start", "trace", "compile")


def measure(name: str, batch: int, size: int) -> dict[str, float]:
    """The seconds of each part, measured in this process."""
    model = jv.create_model(name, num_classes=step_time.CLASSES)
    objective, optimizer = jv.objectives.supervised(model), jv.train.momentum(0.1)
    given = dict(zip(("image", "label"), step_time.images(batch, size), strict=True))
    start = time.perf_counter()
    state = jax.block_until_ready(jv.train.init(objective, optimizer, given, key=jax.random.key(0)))
    started = time.perf_counter()
    lowered = jax.jit(jv.train.make_step(objective, optimizer), donate_argnums=0).lower(state, given, jax.random.key(0))
    traced = time.perf_counter()
    lowered.compile()
    return dict(zip(PARTS, (started - start, traced - started, time.perf_counter() - traced), strict=True))


def measure_theirs(name: str, batch: int, size: int) -> dict[str, float]:
    """The seconds by which the first compiled step of PyTorch is longer than the shorter of the next two, in this process."""
    network, _ = step_time.theirs_of(name)
    side = step_time.theirs(network, *step_time.images(batch, size), form="compiled", mode="train", dtype="float32")
    first, *later = (side_by_side.seconds_of(side.run) for _ in range(3))
    return {"PyTorch": first - min(later)}


SIDES = {"jaxvision": measure, "PyTorch": measure_theirs}


def in_a_process(name: str, batch: int, size: int, cache: str, *, side: str = "jaxvision") -> dict[str, float]:
    """The result of ``SIDES[side]`` in a new process with its caches in the folder ``cache``. Raises ValueError if the process fails."""
    options = ["--one", name, "--side", side, "--batch", str(batch), "--size", str(size)]
    program = [sys.executable, "-m", "benchmarks.compile_time", *options]
    caches = {"JAX_COMPILATION_CACHE_DIR": cache, "TORCHINDUCTOR_CACHE_DIR": str(Path(cache) / "inductor")}
    environment = os.environ | caches | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    done = subprocess.run(program, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "no word of it").splitlines()[-1]
        raise ValueError(f"{name}: its process ended with exit code {done.returncode}: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(name: str, *, batch: int, size: int, times: int, alone: bool = False) -> list[dict]:
    """Rows of the table: with an empty and with a full cache, the median of ``times`` pairs of processes.

    ``alone``: without PyTorch; its columns are then empty.
    """
    found = {"empty": [], "full": []}
    for _ in range(times):
        with tempfile.TemporaryDirectory() as cache:
            for kind, taken in found.items():
                ours = in_a_process(name, batch, size, cache)
                taken.append(ours if alone else ours | in_a_process(name, batch, size, cache, side="PyTorch"))
    rows = []
    for kind, taken in found.items():
        row = {"model": name, "batch": batch, "size": size, "cache": kind, "n": times}
        for part in (*PARTS, "PyTorch"):
            seconds = [one[part] for one in taken if part in one]
            text = (f"{np.median(seconds):.2f}", f"{min(seconds):.2f}-{max(seconds):.2f}") if seconds else ("", "")
            row |= dict(zip((f"{part}_seconds", f"{part}_range"), text, strict=True))
        theirs = [] if alone else [one["PyTorch"] for one in taken]
        ours = [one["trace"] + one["compile"] for one in taken]
        rows.append(row | {"ratio_over_PyTorch": str(side_by_side.Ratio.over(ours, theirs)) if theirs else ""})
    return rows


def main() -> None:
    """Measure all models, print each result, and write the table."""
    parser = command.parser(__doc__)
    parser.add_argument("--models", nargs="+", default=step_time.MODELS, type=command.network, metavar="NAME")
    parser.add_argument("--batch", type=command.positive, default=8)
    parser.add_argument("--size", type=command.positive, default=224, help="side of the images in pixels")
    parser.add_argument("--times", type=command.positive, default=3, help="pairs of processes")
    parser.add_argument("--alone", action="store_true", help="without PyTorch's side")
    parser.add_argument("--one", metavar="NAME", help="measure one model in this process and print its seconds")
    parser.add_argument("--side", default="jaxvision", choices=list(SIDES), help="whose")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(SIDES[given.side](given.one, given.batch, given.size)))
        return
    for name in () if given.alone else given.models:
        step_time.theirs_of(name)  # fails early if PyTorch is not installed
    table = []
    try:
        for name in given.models:
            for row in compare(name, batch=given.batch, size=given.size, times=given.times, alone=given.alone):
                table.append(row)
                text = f"{name}, cache {row['cache']}: " + ", ".join(f"{part} {row[f'{part}_seconds']} s" for part in PARTS)
                print(text + (f"; ratio ours/PyTorch {row['ratio_over_PyTorch']}" if row["ratio_over_PyTorch"] else ""), flush=True)
    finally:  # only now: asking for the device reserves the memory of an accelerator, which the other processes need
        if table:
            print(f"written to {side_by_side.write('compile_time', table, named_by=('model', 'batch', 'size', 'cache'))}")
    if not given.alone:
        print(f"ratio ours/PyTorch {table[-1]['ratio_over_PyTorch']}")


if __name__ == "__main__":
    command.run(main)

"""Compares jit, shard_map and pmap on 1, 2, 4 and 8 devices, and on 2 processes with 4 devices each. Writes docs/drivers.md.

    python -m benchmarks.driver_agreement

Twenty steps of a residual network with BatchNorm, momentum, random crops, mixup, dropout and stochastic depth, on simulated CPU devices.
The result is max |a - b| / max |a| over all parameters, where a is jit on one device. At the learning rate used, the network does not
amplify rounding errors. The script also measures 100 times that rate, and that errors are then amplified on one device too.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np

import jaxvision as jv
from benchmarks import command
from benchmarks.two_processes import together

BATCH, SIZE, CLASSES = 32, 16, 5
BOUND = 1e-5
CALM, WILD = 0.0005, 0.05  # learning rates


def problem(learning_rate: float):
    """(objective, optimizer, augment, source) with all parts whose random draws or statistics could depend on the devices."""
    from jaxvision.models.resnet import ResNet

    model = ResNet((1, 1), False, num_classes=CLASSES, stem_kind="cifar", drop_rate=0.3, drop_path_rate=0.5)
    augment = jv.augment.chain(jv.augment.each(jv.augment.cifar_train(SIZE, padding=2)), jv.augment.mixup(0.4, num_classes=CLASSES))
    optimizer = jv.train.momentum(jv.train.warmup_cosine(learning_rate, 40, warmup=5), weight_decay=1e-4)
    source = jv.data.synthetic(200, image_shape=(SIZE, SIZE, 3), num_classes=CLASSES)
    return jv.objectives.supervised(model, label_smoothing=0.1), optimizer, augment, source


def trained(
    driver: str, devices, steps: int, *, learning_rate: float = CALM, nudge: float = 0.0, fsdp: bool = False, accumulate: int = 1
) -> list[np.ndarray]:
    """Parameters after some steps, as a list of leaves.

    ``nudge``: a relative change of the initial weights.
    """
    objective, optimizer, augment, source = problem(learning_rate)
    key = jax.random.key(0)
    few = next(jv.data.batches(source, 2, steps=1, threads=0))
    state = jv.train.init(objective, optimizer, few, key=key, augment=augment)
    state = state._replace(params=jax.tree.map(lambda leaf: leaf * (1 + nudge), state.params))
    state = jv.train.place(state, fsdp=fsdp, devices=devices)
    step = jv.train.make_step(objective, optimizer, augment=augment, accumulate=accumulate)
    step = jv.train.compile_step(step, driver=driver, fsdp=fsdp, devices=devices)
    for batch in jv.data.batches(source, BATCH, steps=steps, rows=jv.train.process_rows(BATCH), threads=0):
        state, _ = step(state, batch, key)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state.params)]


def difference(ours: list[np.ndarray], reference: list[np.ndarray]) -> float:
    """max |a - b| / max |a| over all leaves together."""
    largest = max(np.abs(leaf).max() for leaf in reference)
    return float(max(np.abs(a - b).max() for a, b in zip(ours, reference, strict=True)) / largest)


def two_processes(driver: str, steps: int) -> list[np.ndarray]:
    """The same on two processes with four devices each, on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "leaves.npz"
        together("benchmarks.driver_agreement", ["--worker", driver, "--steps", str(steps), "--out", str(out)])
        with np.load(out) as file:
            return [file[name] for name in sorted(file.files, key=int)]


def _work(arguments: argparse.Namespace) -> None:
    jv.train.initialize_distributed(arguments.coordinator, 2, arguments.process)
    leaves = trained(arguments.worker, None, arguments.steps)
    if arguments.process == 0:
        np.savez(arguments.out, **{str(index): leaf for index, leaf in enumerate(leaves)})


def _table(steps: int) -> str:
    reference = trained("jit", jax.devices()[:1], steps)
    rows = []
    for driver in ("jit", "shard_map", "pmap"):
        found = [difference(trained(driver, jax.devices()[:count], steps), reference) for count in (1, 2, 4, 8)]
        found.append(difference(two_processes(driver, steps), reference))
        print(driver, found, flush=True)
        rows.append(f"| {driver} | " + " | ".join(f"{value:.1e}" for value in found) + " |")
    sharded = difference(trained("jit", jax.devices()[:8], steps, fsdp=True), reference)
    rows.append(f"| jit, fsdp=True | | | | {sharded:.1e} | |")
    return "\n".join(rows)


def _magnified(steps: int) -> tuple[float, float]:
    """Differences at the high learning rate: of eight devices, and of a relative change of 1e-7 on one device."""
    reference = trained("jit", jax.devices()[:1], steps, learning_rate=WILD)
    eight = trained("shard_map", jax.devices()[:8], steps, learning_rate=WILD)
    nudged = trained("jit", jax.devices()[:1], steps, learning_rate=WILD, nudge=1e-7)
    return difference(eight, reference), difference(nudged, reference)


def main() -> None:
    """Measure each driver on each number of devices and write the table."""
    parser = command.parser(__doc__)
    parser.add_argument("--steps", type=command.positive, default=20)
    for hidden in ("--worker", "--out", "--coordinator"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--process", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return _work(arguments)
    table, (eight, nudged) = _table(arguments.steps), _magnified(arguments.steps)
    moved = difference(*(trained("jit", jax.devices()[:1], steps) for steps in (0, arguments.steps)))
    text = f"""# The same numbers under every driver

A small residual network with BatchNorm is trained for {arguments.steps} steps under each driver, with momentum, random crops, mixup,
dropout and stochastic depth, batch size {BATCH}, float32, on simulated CPU devices. The table has the largest difference
from `jit` on one device, max |a - b| / max |a| over all parameters. The bound is {BOUND:.0e}; a test checks a shorter run against it.

| driver | 1 device | 2 | 4 | 8 | 2 processes x 4 |
|---|---|---|---|---|---|
{table}

The peak learning rate is {CALM}, and training moves the parameters by {moved:.1e} of the largest. At a rate of {WILD} the same steps
amplify rounding: a ReLU near zero is active on one device and not on the other, and the statistics of a small batch carry the
difference on. Eight devices under `shard_map` then differ from one by {eight:.1e}; one device differs from itself by {nudged:.1e} when its
initial weights change by a relative 1e-7.

Measured with jax {jax.__version__} on {os.cpu_count()} CPU cores by `python -m benchmarks.driver_agreement`.
"""
    path = Path(__file__).parents[1] / "docs" / "drivers.md"
    path.write_text(text, encoding="utf-8")
    print(f"{text}\nwritten to {path}")
    return None


if __name__ == "__main__":
    command.run_on_eight_devices("driver_agreement", main)

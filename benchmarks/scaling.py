"""The overhead of the drivers: one training step of the same batch on 1, 2, 4 and 8 simulated devices of this machine.

    python -m benchmarks.scaling [--drivers jit shard_map pmap] [--batch 64] [--turns 15]

The devices share the cores, so that the work is the same and nothing can become faster. A ratio above 1 relative to jit on one device is
the cost of splitting, gathering and averaging. All steps are compared with that of jit on one device before anything is timed. Then they
alternate.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"

import jax
import numpy as np

import jaxvision as jv
from benchmarks import command, side_by_side
from benchmarks.side_by_side import Side

DRIVERS, DEVICES = ("jit", "shard_map", "pmap"), (1, 2, 4, 8)
_BOUND = 5e-3  # of the changes of a step: sums in another order; it is the same without compiled kernels


def side(driver: str, devices: int, name: str, batch: dict) -> Side:
    """A training step of a network on the first ``devices``."""
    model = jv.create_model(name, num_classes=10)
    objective, optimizer, key = jv.objectives.supervised(model), jv.train.momentum(0.01), jax.random.key(0)
    used = jax.devices()[:devices]
    state = jv.train.place(jv.train.init(objective, optimizer, batch, key=key), devices=used)
    initial = jax.tree.map(np.array, state.params)
    step = jv.train.compile_step(jv.train.make_step(objective, optimizer), driver=driver, devices=used)
    changes = {}

    def run() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(step(state, batch, key))
        if not changes:
            moved = jax.tree.leaves_with_path(jax.tree.map(lambda now, then: np.asarray(now) - then, state.params, initial))
            changes.update((jax.tree_util.keystr(path), leaf) for path, leaf in moved)

    return Side(run, lambda: changes)


def compare(name: str, *, drivers, devices, size: int, batch: int, turns: int) -> dict[str, side_by_side.Pace]:
    """The paces; jit on one device is first. Raises side_by_side.Disagreement if a step differs from that one."""
    random = np.random.default_rng(0)
    given = {"image": random.standard_normal((batch, size, size, 3), np.float32), "label": random.integers(0, 10, batch)}
    kinds = [("jit", 1), *((driver, count) for driver in drivers for count in devices if (driver, count) != ("jit", 1))]
    sides = {f"{driver}, {count}": side(driver, count, name, given) for driver, count in kinds}
    return side_by_side.paces_of_equals(sides, bound=_BOUND, what=name, turns=turns)


def main() -> None:
    """Compare, print and write the table."""
    parser = command.parser(__doc__)
    parser.add_argument("--model", default="resnet20", type=command.network, metavar="NAME")
    parser.add_argument("--drivers", nargs="+", default=DRIVERS, choices=DRIVERS)
    parser.add_argument("--batch", type=command.positive, default=64)
    parser.add_argument("--size", type=command.positive, default=32, help="side of the images in pixels")
    parser.add_argument("--turns", type=command.positive, default=15)
    given = parser.parse_args()
    found = compare(given.model, drivers=given.drivers, devices=DEVICES, size=given.size, batch=given.batch, turns=given.turns)
    table = []
    for name, pace in list(found.items())[1:]:
        driver, count = name.split(", ")
        quotient = side_by_side.ratio(pace, found["jit, 1"])
        row = {"model": given.model, "driver": driver, "devices": count, "batch": given.batch, "size": given.size}
        table.append(row | {"ratio_over_jit_on_one_device": str(quotient), "compile_seconds": f"{pace.compiling:.1f}"})
        print(f"{driver} on {count} devices: ratio over jit on 1 device {quotient}", flush=True)
    print(f"written to {side_by_side.write('scaling', table, named_by=('model', 'driver', 'devices', 'batch', 'size'))}")


if __name__ == "__main__":
    command.run(main)

"""How far is each loss from its paper's formula? Writes docs/losses.md: value and gradient, every type, driver and number of devices.

    python -m benchmarks.losses_table [--only 'nt_xent*'] [--again]

Rows whose sources and versions have not changed are kept; the last column of the table is the digest of those sources, and a test fails
where one no longer fits.
"""

import argparse
import fnmatch
import hashlib
import inspect
import os
import platform
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np

from jaxvision import axis
from jaxvision.kernels import contrast, prototypes
from jaxvision.losses import directions, precision
from tests.losses import drivers
from tests.losses.cases import BOUNDS, CASES, errors
from tests.oracles import differences

TABLE = Path(__file__).parents[1] / "docs" / "losses.md"
KINDS = [(dtype, driver) for dtype in BOUNDS for driver in drivers.DRIVERS]
SHARED = (axis, contrast, prototypes, directions, precision, drivers, differences)
Row = tuple[str, str, str]  # case, dtype, driver


def digest(name: str) -> str:
    """Of everything that a case's figures depend on: the files of its loss and its oracle, what all share, arrays and options."""
    case = CASES[name]
    files = [inspect.getsourcefile(thing) for thing in (case.loss, case.oracle, *SHARED)]
    found = hashlib.sha256()
    for file in files:
        found.update("\n".join(Path(file).read_text(encoding="utf-8").splitlines()).encode())
    for array in case.arrays:
        found.update(np.round(array, 6).tobytes())
    found.update(repr((case.batch, case.slopes, sorted(case.options.items()), sorted(case.only_ours.items()), case.slack)).encode())
    return found.hexdigest()[:8]


def versions() -> str:
    """What the figures were measured with."""
    return f"jax {jax.__version__}, numpy {np.__version__}, Python {platform.python_version()}, {platform.machine()} CPU"


def read() -> dict[Row, list[str]]:
    """The rows of the table as it stands: four figures and the digest."""
    lines = TABLE.read_text(encoding="utf-8").splitlines() if TABLE.exists() else []
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {(row[0], row[1], row[2]): row[3:] for row in cells if len(row) == 8 and (row[1], row[2]) in KINDS}


def measure(row: Row) -> tuple[list[str], float]:
    """Value and gradient for each number of devices, and the largest share of its bound that any of them takes."""
    name, dtype, driver = row
    figures, worst = [], 0.0
    with jax.enable_x64(dtype == "float64"):
        for count in drivers.COUNTS:
            value, slope = errors(name, dtype, *drivers.run(name, dtype, driver, count))
            figures.append(f"{value:.0e} / {'-' if slope is None else f'{slope:.0e}'}")
            worst = max(worst, share(row, figures[-1]))
    return figures, worst


def share(row: Row, figure: str) -> float:
    """The part of its bound that a figure takes; the worse of value and gradient."""
    found = [float(part) if part.strip() != "-" else 0.0 for part in figure.split("/")]
    return max(part / bound for part, bound in zip(found, BOUNDS[row[1]], strict=True)) / CASES[row[0]].slack


def text(found: dict[Row, list[str]], measured_with: str) -> str:
    """docs/losses.md."""
    shares = {dtype: [share(row, figure) for row, line in found.items() if row[1] == dtype for figure in line[:4]] for dtype in BOUNDS}
    bounds = "; ".join(f"{dtype}: {value:g} and {slope:g}" for dtype, (value, slope) in BOUNDS.items())
    return f"""# The losses beside their papers' formulas

Each loss of self-supervision, value and gradient, beside an independent float64 rewriting of its paper's formula in plain loops
(`tests/oracles`), whose gradients come from complex steps and not from rules of differentiation. The figure is
max |a - b| / max |b| of the value / of the worst gradient, the oracle reading the same rounded arrays; - where there is no gradient.
Global batch {len(CASES["byol"].arrays[0])}, split over 1, 2, 4 and 8 simulated CPU devices.

Bounds on value and gradient: {bounds};
for temperatures T below 0.05 times 0.05 / T. The largest share of its bound that any figure takes:
{", ".join(f"{dtype} {max(parts, default=0):.2f}" for dtype, parts in shares.items())}.

Measured with {measured_with} by `python -m benchmarks.losses_table`, which also wrote this. The last
column is a digest of the sources that a row depends on: a test fails where they have changed since.

| loss | type | driver | 1 device | 2 | 4 | 8 | sources |
|---|---|---|---|---|---|---|---|
{chr(10).join(f"| {' | '.join((*row, *found[row]))} |" for row in rows() if row in found)}
"""


def rows() -> list[Row]:
    """Every case in every type under every driver."""
    return [(name, dtype, driver) for name in CASES for dtype, driver in KINDS]


def main() -> None:
    """Measure what is asked for and is not there, or has changed; then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="shell pattern of the rows' names")
    parser.add_argument("--again", action="store_true", help="also what has not changed")
    arguments = parser.parse_args()
    known = read()
    same = TABLE.exists() and versions() in TABLE.read_text(encoding="utf-8")
    kept = {row: line for row, line in known.items() if same and row[0] in CASES and line[4] == digest(row[0])}
    asked = [row for row in rows() if fnmatch.fnmatch(row[0], arguments.only)]
    over = []
    for row in asked if arguments.again else [row for row in asked if row not in kept]:
        figures, worst = measure(row)
        kept[row] = [*figures, digest(row[0])]
        print(*row, *figures, "" if worst <= 1 else "OVER THE BOUND", sep="  ", flush=True)
        over += [row] if worst > 1 else []
        TABLE.write_text(text(kept, versions()), encoding="utf-8")  # what was measured stays when the rest is not
    if over:
        raise SystemExit(f"{len(over)} rows are over their bounds")


if __name__ == "__main__":
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        environment = os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"}
        sys.exit(subprocess.run([sys.executable, "-m", "benchmarks.losses_table", *sys.argv[1:]], env=environment).returncode)
    main()

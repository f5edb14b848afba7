"""How far is each loss from its paper's formula? Measures value and gradient in every type, under every driver, on 1 to 8 devices.

    python -m benchmarks.losses_table [--only 'nt_xent*'] [--again]

Writes the last section of docs/losses.md. Rows whose value is still that of the oracle are kept, unless ``--again``.
"""

import fnmatch
import os
import platform
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np

from benchmarks import command
from tests.losses import drivers
from tests.losses.cases import BATCH, BOUNDS, CASES, errors, truth

PAGE = Path(__file__).parents[1] / "docs" / "losses.md"
SECTION = "## Measured errors"  # and what follows it is written by this file
Row = tuple[str, str]  # case, type


def rows() -> list[Row]:
    """Every case in every type."""
    return [(name, dtype) for name in CASES for dtype in BOUNDS]


def value(row: Row) -> str:
    """The oracle's value, or the norm of it where it is an array, to six digits."""
    return f"{float(np.linalg.norm(truth(*row)[0])):.6g}"


def read() -> dict[Row, list[str]]:
    """The rows of the table as it stands: the value, and one cell of errors for each driver."""
    lines = PAGE.read_text(encoding="utf-8").partition(SECTION)[2].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {(row[0], row[1]): row[2:] for row in cells if row[1:2] and row[1] in BOUNDS}


def measure(row: Row) -> list[str]:
    """The value, and for each driver the largest errors of value and gradient over the numbers of devices."""
    name, dtype = row
    cells = [value(row)]
    with jax.enable_x64(dtype == "float64"):
        for driver in drivers.DRIVERS:
            found = [errors(name, dtype, *drivers.run(name, dtype, driver, count)) for count in drivers.COUNTS]
            of_value = float(np.max([error for error, _ in found]))  # np.max: a nan stays
            of_gradient = [error for _, error in found if error is not None]
            cells.append(f"{of_value:.1e} / {f'{float(np.max(of_gradient)):.1e}' if of_gradient else '-'}")
    return cells


def share(row: Row, cell: str) -> float:
    """The part of its bound that a cell takes, the worse of value and gradient. A nan stays a nan."""
    found = np.array([0.0 if part.strip() == "-" else float(part) for part in cell.split("/")])
    return float(np.max(found / BOUNDS[row[1]])) / CASES[row[0]].slack


def text(found: dict[Row, list[str]]) -> str:
    """The section: how the errors were measured, and the table."""
    shares = {dtype: [share(row, cell) for row, cells in found.items() if row[1] == dtype for cell in cells[1:]] for dtype in BOUNDS}
    bounds = "; ".join(f"{dtype} {value:g} and {gradient:g}" for dtype, (value, gradient) in BOUNDS.items())
    largest = " and ".join(f"{np.max([0.0, *parts]):.2f} of its bound in {dtype}" for dtype, parts in shares.items())
    versions = f"jax {jax.__version__}, numpy {np.__version__}, Python {platform.python_version()}, {platform.machine()} CPU"
    return f"""{SECTION}

Each loss is compared with an independent float64 implementation of its paper's formula in plain loops (`tests/oracles`), whose gradients
come from complex steps. A cell has max |a - b| / max |b| of the value / of the worst gradient, the largest of 1, 2, 4 and 8 simulated CPU
devices; - where there is no gradient. Both get the same arrays, rounded to the type of the row. The global batch has {BATCH} examples.
The column "value" has the formula's value (its norm for a centre).

Bounds on value and gradient: {bounds}; for temperatures T below 0.05 times 0.05 / T. The largest error is
{largest}.

Measured with {versions} by `python -m benchmarks.losses_table`, which writes this section.

| loss | type | value | {" | ".join(drivers.DRIVERS)} |
|---|---|---|{"---|" * len(drivers.DRIVERS)}
{chr(10).join(f"| {' | '.join((*row, *found[row]))} |" for row in rows() if row in found)}
"""


def main() -> None:
    """Measure what is asked for and missing or changed, then write the table."""
    parser = command.parser(__doc__)
    parser.add_argument("--only", default="*", help="shell pattern of the rows' names")
    parser.add_argument("--again", action="store_true", help="also rows that have not changed")
    arguments = parser.parse_args()
    kept = {row: cells for row, cells in read().items() if row[0] in CASES and cells[0] == value(row)}
    over = []
    for row in rows():
        if not fnmatch.fnmatch(row[0], arguments.only) or row in kept and not arguments.again:
            continue
        kept[row] = measure(row)
        within = all(share(row, cell) <= 1 for cell in kept[row][1:])  # false for a nan
        print(*row, *kept[row], "" if within else "OVER THE BOUND", sep="  ", flush=True)
        over += [] if within else [row]
        formulas = PAGE.read_text(encoding="utf-8").partition(SECTION)[0]
        PAGE.write_text(formulas + text(kept), encoding="utf-8")  # what was measured stays when the rest is interrupted
    if over:
        raise SystemExit(f"{len(over)} rows are over their bounds")


if __name__ == "__main__":
    command.run_on_eight_devices("losses_table", main)

"""Compares each loss, value and gradient, with its formula in float64 for each type, driver and device count. Writes docs/losses.md.

    python -m benchmarks.losses_table [--only 'nt_xent*'] [--again]

Rows whose sources and versions have not changed are kept; the last column of the table is the digest of those sources, and a test fails
where one no longer fits.
"""

import ast
import fnmatch
import hashlib
import importlib
import inspect
import os
import platform
from pathlib import Path
from types import ModuleType

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np

from benchmarks import command
from tests.losses import drivers
from tests.losses.cases import BOUNDS, CASES, errors, truth
from tests.oracles import differences

TABLE = Path(__file__).parents[1] / "docs" / "losses.md"
KINDS = [(dtype, driver) for dtype in BOUNDS for driver in drivers.DRIVERS]
WATCHED = ("jaxvision.axis", "jaxvision.typing", "jaxvision.kernels", "jaxvision.losses", "tests.oracles")  # where imports are followed
Row = tuple[str, str, str]  # case, dtype, driver


def _watched(module: ModuleType | None) -> bool:
    return module is not None and module.__name__.startswith(WATCHED)


def _imported(module: ModuleType) -> list[ModuleType]:
    """The watched modules in which what a module imports is written, not the packages that only pass it on."""
    found = []
    for statement in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(statement, ast.ImportFrom):
            parent = importlib.import_module(statement.module)
            homes = [inspect.getmodule(getattr(parent, alias.name)) for alias in statement.names]
            found += [home if _watched(home) else parent for home in homes]  # a constant is at home where it is imported from
    return [home for home in found if _watched(home)]


def sources(name: str) -> list[ModuleType]:
    """The modules that a case's figures depend on: its loss, its oracle, the drivers, and what they import from the watched places."""
    case = CASES[name]
    found = [inspect.getmodule(case.loss), inspect.getmodule(case.oracle), drivers, differences]
    for module in found:
        found += [other for other in dict.fromkeys(_imported(module)) if other not in found]
    return sorted(found, key=lambda module: module.__name__)


def digest(name: str) -> str:
    """Of everything that a case's figures depend on: its sources, the comparison and its bounds, arrays and options."""
    case = CASES[name]
    found = hashlib.sha256()
    for part in (*sources(name), errors, truth):
        found.update("\n".join(inspect.getsource(part).splitlines()).encode())
    found.update(repr(BOUNDS).encode())
    for array in case.arrays:
        found.update(np.round(array, 6).tobytes())
    found.update(
        repr((case.batch, case.slopes, sorted(case.options.items()), sorted(case.only_ours.items()), case.slack, case.everywhere)).encode()
    )
    return found.hexdigest()[:8]


def versions() -> str:
    """Versions and machine of the measurement."""
    return f"jax {jax.__version__}, numpy {np.__version__}, Python {platform.python_version()}, {platform.machine()} CPU"


def read() -> dict[Row, list[str]]:
    """The rows of the table as it stands: four figures and the digest."""
    lines = TABLE.read_text(encoding="utf-8").splitlines() if TABLE.exists() else []
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {(row[0], row[1], row[2]): row[3:] for row in cells if len(row) == 8 and (row[1], row[2]) in KINDS}


def measure(row: Row) -> tuple[list[str], float]:
    """Errors of value and gradient for each number of devices, and the largest error as a fraction of its bound."""
    name, dtype, driver = row
    figures, worst = [], 0.0
    with jax.enable_x64(dtype == "float64"):
        for count in drivers.COUNTS:
            value, slope = errors(name, dtype, *drivers.run(name, dtype, driver, count))
            figures.append(f"{value:.1e} / {'-' if slope is None else f'{slope:.1e}'}")
            worst = float(np.max([worst, _share(row, value, slope or 0.0)]))  # np.max: a nan stays
    return figures, worst


def _share(row: Row, *found: float) -> float:
    return float(np.max(np.array(found) / BOUNDS[row[1]])) / CASES[row[0]].slack


def share(row: Row, figure: str) -> float:
    """The error as a fraction of its bound; the larger one of value and gradient."""
    return _share(row, *(float(part) if part.strip() != "-" else 0.0 for part in figure.split("/")))


def within(part: float) -> bool:
    """Whether a fraction of the bound is at most 1; False for nan."""
    return bool(part <= 1)


def text(found: dict[Row, list[str]], measured_with: str) -> str:
    """The text of docs/losses.md."""
    shares = {dtype: [share(row, figure) for row, line in found.items() if row[1] == dtype for figure in line[:4]] for dtype in BOUNDS}
    bounds = "; ".join(f"{dtype}: {value:g} and {slope:g}" for dtype, (value, slope) in BOUNDS.items())
    return f"""# The losses beside their papers' formulas

Each loss of self-supervision, value and gradient, beside an independent float64 rewriting of its paper's formula in plain loops
(`tests/oracles`), whose gradients come from complex steps and not from rules of differentiation. The figure is
max |a - b| / max |b| of the value / of the worst gradient, the oracle reading the same rounded arrays; - where there is no gradient.
Global batch {len(CASES["byol"].arrays[0])}, split over 1, 2, 4 and 8 simulated CPU devices.

Bounds on value and gradient: {bounds};
for temperatures T below 0.05 times 0.05 / T. The largest share of its bound that any figure takes:
{", ".join(f"{dtype} {np.max([0.0, *parts]):.2f}" for dtype, parts in shares.items())}.

Measured with {measured_with} by `python -m benchmarks.losses_table`, which also wrote this. The last
column is a digest of the sources that a row depends on: a test fails where they have changed since.

| loss | type | driver | 1 device | 2 | 4 | 8 | sources |
|---|---|---|---|---|---|---|---|
{chr(10).join(f"| {' | '.join((*row, *found[row]))} |" for row in rows() if row in found)}
"""


def rows() -> list[Row]:
    """All cases in all types under all drivers."""
    return [(name, dtype, driver) for name in CASES for dtype, driver in KINDS]


def main() -> None:
    """Measure what is asked for and is not there, or has changed; then write the table."""
    parser = command.parser(__doc__)
    parser.add_argument("--only", default="*", help="shell pattern of row names")
    parser.add_argument("--again", action="store_true", help="measure unchanged rows again")
    arguments = parser.parse_args()
    known = read()
    same = TABLE.exists() and versions() in TABLE.read_text(encoding="utf-8")
    kept = {row: line for row, line in known.items() if same and row[0] in CASES and line[4] == digest(row[0])}
    asked = [row for row in rows() if fnmatch.fnmatch(row[0], arguments.only)]
    over = []
    for row in asked if arguments.again else [row for row in asked if row not in kept]:
        figures, worst = measure(row)
        kept[row] = [*figures, digest(row[0])]
        print(*row, *figures, "" if within(worst) else "OVER THE BOUND", sep="  ", flush=True)
        over += [] if within(worst) else [row]
        TABLE.write_text(text(kept, versions()), encoding="utf-8")  # keep the results so far if the rest fails
    if over:
        raise SystemExit(f"{len(over)} rows are over their bounds")


if __name__ == "__main__":
    command.run_on_eight_devices("losses_table", main)

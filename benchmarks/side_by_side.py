"""Times two programs that compute the same. Their results are compared before anything is timed."""

import csv
import ctypes
import os
import platform
import re
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxvision.kernels import native

RESULTS = Path(__file__).parent / "results"
PAUSE_SECONDS = 0.3  # between rounds: the threads of the side that has just run still wait actively for work (docs/performance.md)


class Disagreement(ValueError):
    """The two sides compute different results, so that a ratio of their times is meaningless."""


class Ratio(NamedTuple):
    """Our time over theirs in each round: the median, the quartiles and the number of rounds."""

    median: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f}, n {self.count})"

    @classmethod
    def over(cls, ours: Sequence[float], theirs: Sequence[float]) -> "Ratio":
        """The ratio of two lists of times, round by round."""
        quotients = np.divide(ours, theirs)
        low, median, high = np.quantile(quotients, (0.25, 0.5, 0.75))
        return cls(float(median), float(low), float(high), len(quotients))

    @classmethod
    def of(cls, text: str) -> "Ratio":
        """Parse a ratio from the text of a table."""
        median, low, high, count = re.fullmatch(r"(\S+) \((\S+)-(\S+), n (\d+)\)", text).groups()
        return cls(float(median), float(low), float(high), int(count))


class Side(NamedTuple):
    """One of the programs. ``run()`` works once and returns when finished; ``result()`` returns arrays of the last run by name.

    ``memory()`` returns the additional MiB of one run on accelerators, where the memory of the process does not show it.
    """

    run: Callable[[], object]
    result: Callable[[], dict[str, np.ndarray]]
    memory: Callable[[], float] | None = None


class Pace(NamedTuple):
    """Measurements of one side: seconds to its first result, seconds in XLA's compiler, seconds of each round; peak memory in MiB."""

    first: float
    compiling: float
    turns: np.ndarray
    mebibytes: float

    def quartiles(self) -> tuple[float, float, float]:
        """(25 %, median, 75 %) quantiles of the seconds of a round."""
        low, median, high = np.quantile(self.turns, (0.25, 0.5, 0.75))
        return float(low), float(median), float(high)


def check_equal(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], *, bound: float, what: str) -> float:
    """The largest difference over all arrays of one name, relative to the largest entry of all.

    Raises Disagreement if it is above ``bound`` or nan, or if names or shapes differ.
    """
    if set(ours) != set(theirs):
        raise Disagreement(f"{what}: the names differ: {', '.join(sorted(set(ours) ^ set(theirs))[:4])}")
    shapes = {name: (np.shape(ours[name]), np.shape(theirs[name])) for name in ours}
    if unequal := {name: pair for name, pair in shapes.items() if pair[0] != pair[1]}:
        raise Disagreement(f"{what}: the shapes differ: {unequal}")
    scale = max(float(np.abs(array).max()) for array in theirs.values())
    found = {name: float(np.abs(np.float64(ours[name]) - np.float64(theirs[name])).max()) / scale for name in ours}
    worst = max(found, key=lambda name: np.nan_to_num(found[name], nan=np.inf))
    if not found[worst] <= bound:
        raise Disagreement(f"{what}: {worst} differs by {found[worst]:.2e} of the largest entry, allowed are {bound:.0e}")
    return found[worst]


def _peak_of_process(reset: bool = False) -> float:
    """Peak memory of this process in MiB since the last reset; 0 if the system does not report it."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0.0
    if reset:
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # return freed memory to the system, so that it does not count
        if trim:
            trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return float(lines["VmHWM"].split()[0]) / 1024


def needed(program, *arguments) -> float:
    """MiB that a jitted ``program`` needs in addition to its ``arguments``, as XLA reports it. It is compiled and not executed."""
    memory = program.lower(*arguments).compile().memory_analysis()
    return (memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes) / 2**20


def memory_of(program, *arguments) -> Callable[[], float] | None:
    """``Side.memory`` of one of our jitted programs. (The peak that an accelerator reports is that of all programs since its start.)"""
    if jax.default_backend() == "cpu":
        return None
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), arguments)  # arguments may be donated
    return lambda: needed(program, *shapes)


@contextmanager
def _compiler() -> Iterator[list[float]]:
    """Collect the compile time of each program that XLA compiles in this context."""
    spent: list[float] = []

    def listen(event: str, seconds: float, **_) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            spent.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield spent
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def seconds_of(run: Callable[[], object]) -> float:
    """The seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def paces(sides: Mapping[str, Side], check: Callable[[], object], *, turns: int, warmup: int = 2) -> dict[str, Pace]:
    """Measure each of ``sides``. Each runs once; then ``check()``, which raises if they differ; then they alternate.

    Memory is the peak of one run in addition to what was allocated before it; on a CPU it is the growth of the process.
    """
    begins, compiling, grown = {}, {}, {}
    for name, side in sides.items():
        with _compiler() as spent:
            begins[name] = seconds_of(side.run)
        compiling[name] = sum(spent)
    check()
    for name, side in sides.items():
        if side.memory:
            grown[name] = side.memory()
            continue
        before = _peak_of_process(reset=True)
        side.run()
        grown[name] = _peak_of_process() - before
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(warmup + turns):
        for name, side in sides.items():
            time.sleep(PAUSE_SECONDS)
            seconds = seconds_of(side.run)
            if turn >= warmup:
                found[name].append(seconds)
    return {name: Pace(begins[name], compiling[name], np.array(found[name]), grown[name]) for name in sides}


def paces_of_equals(sides: Mapping[str, Side], *, bound: float, what: str, turns: int) -> dict[str, Pace]:
    """``paces`` of sides whose results must equal those of the first (``check_equal``). Raises Disagreement if they do not."""
    (_, first), *others = sides.items()

    def check() -> None:
        for name, other in others:
            check_equal(first.result(), other.result(), bound=bound, what=f"{what}, {name}")

    return paces(sides, check, turns=turns)


def ratio(ours: Pace, theirs: Pace) -> Ratio:
    """``Ratio.over`` the rounds of two paces."""
    return Ratio.over(ours.turns, theirs.turns)


def machine() -> dict[str, str]:
    """Hardware, versions, threads and the instruction set of our kernels, for each row of a table.

    torch is "none" if it is not installed: some benchmarks do not need it.
    """
    try:
        import torch
    except ModuleNotFoundError:
        torch = None
    device = jax.devices()[0]
    return {
        "device": device.device_kind if device.platform != "cpu" else _processor(),
        "cores": str(os.cpu_count()),
        "compiled kernels": native.instructions() if native.present() else "none",
        "torch threads": str(torch.get_num_threads()) if torch else "none",
        "python": platform.python_version(),
        "jax": jax.__version__,
        "torch": torch.__version__.partition("+")[0] if torch else "none",
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table file; an empty list if it does not exist."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(what: str, rows: list[dict], *, named_by: tuple[str, ...]) -> Path:
    """Write the rows to results/<what>-<platform>-jax<version>[-torch<version>].csv. They replace rows of this machine with the same name.

    ``named_by``: the columns that name a row. Other rows in the file stay, unless they have other columns.
    """
    about = machine()
    beside = "" if about["torch"] == "none" else f"-torch{about['torch']}"
    path = RESULTS / f"{what}-{jax.devices()[0].platform}-jax{about['jax']}{beside}.csv"
    path.parent.mkdir(exist_ok=True)
    columns = [*rows[0], *about]
    there = [row for row in read(path) if list(row) == columns]
    found: dict[tuple[str, ...], list[dict]] = {}  # in the order of the file, new ones last
    for known in (there, rows):
        whole = [row | about if known is rows else row for row in known]
        named = [tuple("" if row[name] is None else str(row[name]) for name in (*named_by, *about)) for row in whole]
        found |= {name: [row for row, own in zip(whole, named) if own == name] for name in named}
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(row for group in found.values() for row in group)
    os.replace(part, path)
    return path


def picture(paint: Callable[[object], None], path: Path, *, size: tuple[float, float], title: str) -> None:
    """Save what ``paint(axes)`` draws with matplotlib to ``path``, ``size`` in inches. Without matplotlib, print one line."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        print("no plot: matplotlib is not installed (pip install matplotlib)")
        return
    figure = Figure(figsize=size, layout="constrained")
    paint(figure.subplots())
    figure.suptitle(textwrap.fill(title, 90), fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    print(f"drawn in {path}")


def chart(labels: list[str], ratios: list[Ratio], path: Path, *, title: str) -> None:
    """Draw ratios as bars with their quartiles, and a line at 1."""

    def paint(axes) -> None:
        reach = [[one.median - one.low for one in ratios], [one.high - one.median for one in ratios]]
        colors = ["tab:green" if one.median <= 1 else "tab:orange" for one in ratios]
        axes.barh(labels, [one.median for one in ratios], xerr=reach, color=colors)
        axes.axvline(1, color="black", linewidth=1)
        axes.invert_yaxis()
        axes.set_xlabel("time, jaxvision / PyTorch (below 1: jaxvision is faster)")

    picture(paint, path, size=(7, 0.6 + 0.4 * len(labels)), title=title)

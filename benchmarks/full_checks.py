"""The checks of the tests in full, which take minutes to hours: every row of the catalog, ten thousand damaged files, ten kills.

    python -m benchmarks.full_checks NAME...

Each is what a test does on a few rows, files or kills, and stops at the first that fails. Whole networks against torchvision and timm are
``benchmarks.parity_table``, every loss under every driver ``benchmarks.losses_table``, every collapse ``benchmarks.collapse_table``.
"""

import tempfile
from pathlib import Path

import pytest

import jaxvision as jv
from benchmarks import command

PAIRS = 200  # of sizes
DAMAGED_FILES = 10_000  # of each kind
KILLS = ("early", "early", "later", "later", "save", "later", "later", "save", "later", "later")


def report() -> None:
    """Every row: parameters and MACs of its report are those of the program."""
    from tests.summary.test_report import assert_all_operations_counted, without_compiled_kernels

    with pytest.MonkeyPatch.context() as patch:
        without_compiled_kernels(patch)
        for name in jv.list_models():
            assert_all_operations_counted(name)
            print(f"{name}: every MAC and parameter is in the report", flush=True)


def layouts() -> None:
    """Every row: names and shapes of its weights are those of the libraries that have it."""
    from tests.weights.test_layouts import check

    for name in jv.list_models():
        print(f"{name}: {', '.join(check(name)) or 'no reference'}", flush=True)


def norms() -> None:
    """Every row: epsilon and momentum of its normalizations are those of the libraries that have it."""
    from tests.models.test_norms import compare

    for name in jv.list_models():
        print(f"{name}: {compare(name)} norms compared", flush=True)


def weight_files() -> None:
    """Damaged files of weights are read or refused in one line, without running anything and within the memory allowed."""
    from tests.weights.test_fuzz import BASES, fuzz

    for kind in BASES:
        with tempfile.TemporaryDirectory() as folder:
            outcomes = fuzz(kind, DAMAGED_FILES, Path(folder))
        print(f"{kind}: " + ", ".join(f"{name} {number:,}" for name, number in outcomes.items()), flush=True)


def image_files() -> None:
    """Damaged image files are read or refused in one line, within the time and memory allowed."""
    from tests.data.test_fuzz import ASKED, OTHERS, fuzzed

    for formats, count in ((ASKED, 10 * DAMAGED_FILES), (OTHERS, 5 * DAMAGED_FILES)):
        fuzzed(formats, count, seed=1)


def resize() -> None:
    """Photographs of random sizes, resized to random sizes, are Pillow's; 600 programs are compiled."""
    import jax
    import numpy as np

    from tests.augment.test_resize import PHOTOGRAPHS, TOLERANCES, difference

    for method, tolerance in TOLERANCES.items():
        rng, largest = np.random.default_rng(1), 0.0
        for turn in range(PAIRS):
            height, width, *size = (int(length) for length in rng.integers(8, (428, 641, 428, 641)))
            image = PHOTOGRAPHS[turn % 2][:height, :width]
            resized = jax.jit(lambda image, size=tuple(size), method=method: jv.augment.resize(size, method=method)(None, image))
            largest = max(largest, difference(resized(image.astype(np.float32) / 255), image, tuple(size), method))
        print(f"{method}: {PAIRS} pairs, largest difference from Pillow {largest:.3f} / 255", flush=True)
        assert largest <= tolerance + 1e-3


def augmentations() -> None:
    """Every recipe draws the same bits in a batch of any size on any number of devices."""
    from tests.augment.test_views import RECIPES, compare

    for name in RECIPES:
        compare(name, counts=(1, 5, 7), devices=(1, 2, 4, 8))
        print(f"{name}: the same bits in 3 batch sizes and on 4 numbers of devices", flush=True)


def kills() -> None:
    """A run that is killed ten times ends as one that is not, bit for bit."""
    from tests.train.test_resume import assert_same_run, killed, uninterrupted

    with tempfile.TemporaryDirectory() as folder:
        whole = uninterrupted(Path(folder) / "whole")
        found = killed(Path(folder) / "killed", list(KILLS), seed=1)
        assert_same_run(whole, Path(folder) / "killed")
    print("moment, newest checkpoint, last logged step:", *zip(KILLS, found, strict=True), sep="\n  ")


CHECKS = {check.__name__: check for check in (report, layouts, norms, weight_files, image_files, resize, augmentations, kills)}


def main() -> None:
    """Run the checks that are named."""
    parser = command.parser(__doc__)
    parser.add_argument("names", nargs="+", choices=CHECKS, metavar="NAME", help=", ".join(CHECKS))
    for name in parser.parse_args().names:
        CHECKS[name]()


if __name__ == "__main__":
    command.run_on_eight_devices("full_checks", main)

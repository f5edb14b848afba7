"""Compares the logits of all models that torchvision or timm also has, with the same random weights. Writes docs/parity.md.

    python -m benchmarks.parity_table [--only "resnet*"] [--skip "vit_giant*"] [--again] [--table]

Networks are compared one at a time. Each result is appended to the CSV file at once, and results with the same versions are not measured
again, so that a stopped run can continue. The largest models need 16 GB of memory and minutes each. --table only writes docs/parity.md.
"""

import csv
import fnmatch
import functools
import gc
import importlib.metadata
import platform
import time
from pathlib import Path

import jax

import jaxvision as jv
from benchmarks import command, reference
from jaxvision.weights.rules import shapes_of
from tests.oracles import parity, references

VERSIONS = {name: importlib.metadata.version(name).partition("+")[0] for name in ("jax", "flax", "torch", "torchvision", "timm")}
RESULTS = Path(__file__).parent / "results" / f"parity-cpu-jax{VERSIONS['jax']}-torch{VERSIONS['torch']}.csv"
TABLE = Path(__file__).parents[1] / "docs" / "parity.md"
BOUND = 1e-4
_FIGURES = ("float32", "float64", "round_trip", "seconds")
COLUMNS = ("name", "parameters", "library", "reference", "height", "width", "gain", *_FIGURES, *VERSIONS)


def rows() -> list[tuple[str, str]]:
    """(our name, library) of all models that the libraries have."""
    return [(name, library) for name in jv.list_models() for library in references.LIBRARIES if references.reference_name(name, library)]


@functools.cache
def count(name: str) -> int:
    """Number of parameters of a model with its auxiliary classifiers, from shapes alone."""
    return sum(leaf.size for leaf in jax.tree.leaves(shapes_of(jv.create_model(name))["params"]))


def measure(name: str, library: str) -> dict:
    """Compare one model; returns one row of the CSV file."""
    start, size, gain = time.perf_counter(), references.image_size(name), references.GAINS.get(name, 2.0)
    parity.torch.manual_seed(0)
    model = references.counterpart(name, library)
    network = parity.randomised(references.reference(name, library), gain=gain).eval()
    tensors = {key: tensor.detach().numpy() for key, tensor in network.state_dict().items()}  # views: the largest have 4.5 GB
    without = {"drop_auxiliary": True} if (name, library) == ("inception_v3", "timm") else {}
    variables = jv.weights.from_torch(model, tensors, layout=library, **without)
    float32 = parity.logits_difference(model, network, variables, size=size)
    changed = parity.changed(jv.weights.to_torch(model, variables, layout=library), tensors)
    # Rounding errors grow with depth; a mistake would be as large in float64.
    float64 = parity.logits_difference(model, network, variables, size=size, double=True) if float32 > BOUND else None
    figures = {"float32": f"{float32:.1e}", "float64": "" if float64 is None else f"{float64:.1e}"}
    return {
        **{"name": name, "parameters": count(name), "library": library, "reference": references.reference_name(name, library)},
        **{"height": size[0], "width": size[1], "gain": gain, **figures, "round_trip": "changed" if changed else "exact"},
        **{"seconds": f"{time.perf_counter() - start:.0f}", **VERSIONS},
    }


def read() -> dict[tuple[str, str], dict]:
    """{(our name, library): row} of the results with these versions; the last one counts."""
    if not RESULTS.exists():
        return {}
    with RESULTS.open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if all(line[name] == version for name, version in VERSIONS.items())]
    return {(line["name"], line["library"]): line for line in lines}


def append(line: dict) -> None:
    """Append a row; the first one is preceded by the column names."""
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(line)


def within(line: dict) -> bool:
    """Whether the logits equal the reference within the bound, in float32 or else in float64."""
    return min(float(line[kind]) for kind in ("float32", "float64") if line[kind]) <= BOUND


def text(found: dict[tuple[str, str], dict], wanted: list[tuple[str, str]]) -> str:
    """The text of docs/parity.md."""
    lines = [found[row] for row in wanted if row in found]
    good, rounded = sum(map(within, lines)), sum(float(line["float32"]) > BOUND for line in lines)
    alone = f", {rounded} of them in float64 alone" if rounded else ""
    ours = [f"| {name} | {count(name):,} |" for name in jv.list_models() if name not in {name for name, _ in wanted}]
    versions = ", ".join(f"{name} {version}" for name, version in VERSIONS.items())
    missing = ", ".join(f"{name} ({library})" for name, library in wanted if (name, library) not in found)
    table = [
        f"| {line['name']} | {int(line['parameters']):,} | {line['library']} {line['reference']} | {line['height']} x {line['width']} "
        f"| {line['float32']} | {line['float64']} | {line['round_trip']} |"
        for line in lines
    ]
    return "\n".join(
        [
            "# The same logits as PyTorch's networks",
            "",
            "This page compares each network with torchvision's or timm's network of the same name.",
            f"{len(lines)} of {len(wanted)} pairs were measured. In {good} of them the logits differ by at most {BOUND:g}{alone}.",
            "The last table lists the networks that neither library has.",
            "",
            "The reference network gets random weights, including BatchNorm statistics, LayerScale, GRN and positions.",
            "`weights.from_torch` converts them. Both networks evaluate the same two images. The columns float32 and float64 give the",
            "largest difference of the logits, divided by the standard deviation of the logits between the images (so that a common",
            "bias does not count). Rounding errors grow with the depth and with the scale of the weights. If the difference in float32",
            f"exceeds {BOUND:g}, it is measured in float64 too, where only a mistake would remain. The round trip is exact if",
            "`weights.to_torch` gives back the same bits.",
            "`tests/models` (`check_training`) compares loss, gradients and updated statistics in training for one variant of each family.",
            "",
            f"{versions}, Python {platform.python_version()}, CPU.",
            "`python -m benchmarks.parity_table` measured this and wrote this page. The numbers are in",
            f"`benchmarks/results/{RESULTS.name}`.",
            "",
            "| row | parameters | reference | image | float32 | float64 | round trip |",
            "|---|---:|---|---|---:|---:|---|",
            *table,
            "",
            f"Not measured: {missing or 'none'}.",
            "",
            "## Networks that neither library has",
            "",
            "`tests/models` compares them with networks built from PyTorch's layers, or with the network that they are a variant of.",
            "The counts are for three input channels and include auxiliary classifiers. With one channel, LeNet-5 has 61,706 parameters.",
            "",
            "| row | parameters |",
            "|---|---:|",
            *ours,
            "",
        ]
    )


def main() -> None:
    """Measure what was asked for and has no result yet; then write the table of all results."""
    parser = command.parser(__doc__)
    parser.add_argument("--only", default="*", help="shell pattern of model names")
    parser.add_argument("--skip", default="", help="shell pattern of names to leave out")
    parser.add_argument("--again", action="store_true", help="measure again what has a result with these versions")
    parser.add_argument("--table", action="store_true", help="only write docs/parity.md")
    arguments = parser.parse_args()
    reference.torchvision()
    wanted, known = rows(), {} if arguments.again else read()
    asked = [row for row in wanted if fnmatch.fnmatch(row[0], arguments.only) and not fnmatch.fnmatch(row[0], arguments.skip)]
    left = [] if arguments.table else [row for row in asked if row not in known]
    failed: list[str] = []
    for name, library in sorted(left, key=lambda row: count(row[0])):  # small networks first
        try:
            append(line := measure(name, library))
        except Exception as error:  # continue with the other models
            failed.append(f"{name} ({library}): {type(error).__name__}: {str(error)[:300]}")
            print(failed[-1], flush=True)
            continue
        print(" ".join(f"{line[key]}" for key in COLUMNS[:11]), "" if within(line) else "APART", flush=True)
        TABLE.write_text(text(read(), wanted), encoding="utf-8")
        jax.clear_caches()
        gc.collect()
    TABLE.write_text(text(read(), wanted), encoding="utf-8")
    if failed:
        raise SystemExit(f"{len(failed)} could not be measured")


if __name__ == "__main__":
    command.run(main)

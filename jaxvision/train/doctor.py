"""The checks of ``jaxvision doctor``: installation, devices, disk, a data folder, a run folder."""

import importlib.metadata
import json
import platform
import shutil
from pathlib import Path
from typing import NamedTuple

import jax

from jaxvision import data
from jaxvision.train import checkpoint

_NEEDED = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "chex", "numpy")
_OPTIONAL = {  # package: the feature that needs it
    "pillow": "image files",
    "scikit-learn": "the embedded digits",
    "tensorflow-datasets": "jv.data.tfds",
    "tyro": "experiments from the command line",
    "rich": "the progress bar",
    "tensorboardX": "TensorBoard events",
    "matplotlib": "plots",
    "grain": "reading ahead by grain's threads (threads of the standard library do it)",
    "jaxtyping": "shapes in annotations",
}
_LEAST_FREE_BYTES = 2 * 2**30


class Section(NamedTuple):
    """One section of the report: what was found, and what is wrong."""

    title: str
    facts: list[str]
    problems: list[str]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def installation() -> Section:
    """Versions of Python and the packages, and the features that missing packages take away."""
    facts = [f"Python {platform.python_version()} on {platform.platform()}"]
    facts += [f"{package} {_version(package)}" for package in (*_NEEDED, *_OPTIONAL) if _version(package)]
    facts += [
        f"{package} is not installed: no {what} (pip install {package})" for package, what in _OPTIONAL.items() if not _version(package)
    ]
    return Section("installation", facts, [f"{package} is not installed" for package in _NEEDED if not _version(package)])


def devices() -> Section:
    """The devices that jax finds, and whether they compute a sum correctly."""
    found = jax.devices()
    facts = [f"{device.id}: {device.device_kind} ({device.platform})" for device in found]
    problems = []
    for device in found:
        total = jax.device_put(jax.numpy.ones((64, 64)), device).sum()
        if float(total) != 4096:
            problems.append(f"device {device.id} sums 4,096 ones to {float(total)}")
    return Section(f"devices ({jax.default_backend()})", facts, problems)


def disk(folder: Path) -> Section:
    """Free disk space in the folder of runs."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    fact = f"{free / 2**30:.1f} GiB free at {place}"
    return Section("disk", [fact], [f"less than {_LEAST_FREE_BYTES / 2**30:.0f} GiB free"] if free < _LEAST_FREE_BYTES else [])


def data_folder(folder: Path) -> Section:
    """The known layouts that a data folder holds, and its problems."""
    try:
        return Section("data", *data.survey(folder))
    except (OSError, ValueError) as error:
        return Section("data", [], [str(error)])


def run_folder(folder: Path) -> Section:
    """Whether the files, rows and checkpoints of a run folder are intact. The folder is only read."""
    facts, problems = [], []
    if not folder.is_dir():
        return Section("run folder", [], [f"{folder}: no such folder"])
    for name in ("config.json", "environment.json", "summary.json"):
        path = folder / name
        if not path.exists():
            (facts if name == "summary.json" else problems).append(
                f"no {name}" + (": the run is not complete" if name == "summary.json" else "")
            )
            continue
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            problems.append(f"{name}: not valid JSON ({error})")
    problems += _bad_rows(folder / "metrics.jsonl")
    checkpoints = folder / "checkpoints"
    for path in sorted(checkpoints.iterdir()) if checkpoints.is_dir() else []:
        if path.name.isdigit():
            damage = checkpoint.verify(path)
            facts += [] if damage else [f"checkpoint {path.name} is intact"]
            problems += [f"checkpoint {path.name}: {what}" for what in damage]
        else:
            facts.append(
                f"{path.name}: {'a save in progress or interrupted' if path.name.startswith('unfinished') else 'a damaged checkpoint'}"
            )
    return Section("run folder", facts, problems)


def _bad_rows(path: Path) -> list[str]:
    if not path.exists():
        return ["no metrics.jsonl"]
    problems, last = [], -1
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            step = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError):
            problems.append(f"metrics.jsonl line {number} is not a row (an incomplete last line is removed when the run resumes)")
            continue
        if step < last:
            problems.append(f"metrics.jsonl line {number}: step {step} after step {last}")
        last = step
    return problems

"""The run folder: what was asked for, where it ran, what came out, and the way back from a folder to its experiment."""

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from jaxvision import data
from jaxvision.train import sharding, state
from jaxvision.train.checkpoint import Checkpoints
from jaxvision.train.experiment import Experiment

_NUMBERS = (
    *("epochs", "batch_size", "seed", "accumulate", "ema", "evaluate_every", "log_every", "save_every", "keep", "best", "patience"),
    *("driver", "fsdp", "remat", "threads", "resident", "steps_per_call", "broken_share"),
)
# Options that change how a run is executed and not one number of its result: a run may go on with others.
EXECUTION = ("driver", "fsdp", "remat", "threads", "resident", "steps_per_call", "broken_share")


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def read_json(path: Path) -> dict:
    """A JSON file of a run folder. Raises ValueError naming the file when it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.parent}: not a run folder: it has no {path.name}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None


def _commit() -> str | None:
    """The commit of the checkout that jaxvision runs from, None where it was installed otherwise or git is not there."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        return subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=root).stdout.strip() or None
    except OSError:
        return None


def environment() -> dict:
    """Versions, devices, machine and command line of this process."""
    packages = ("jaxvision", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "chex", "numpy")
    versions = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed as a package"
    return {
        "command": " ".join([Path(sys.executable).name, *sys.orig_argv[1:]]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "devices": [str(device.device_kind) for device in jax.devices()],
        "processes": jax.process_count(),
        "commit": _commit(),
        "versions": versions,
    }


def _unheard(source, share: float) -> data.Breakage:
    """Counts what is broken without a word: the training loop will say it."""
    return data.Breakage(len(source), share=share, name="train", report=lambda line: None)


def _fingerprint(source, reads: tuple[str, ...]) -> str:
    """A digest that other data do not have: the labels, where they are known without reading everything, and what the model reads first."""
    first = next(data.padded_batches(source, 1, threads=0, breakage=_unheard(source, 1.0)))  # zeros where it is broken
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(first[name]).tobytes() for name in reads))
    if not getattr(source, "labels_fit_classes", False):
        digest.update(np.ascontiguousarray(source.labels).tobytes())
    return digest.hexdigest()[:16]


def settings(experiment: Experiment, origin: dict | None, learning_rate: float | None) -> dict:
    """What ``config.json`` says: the experiment file and its options, and what tells any run from another."""
    sources = {name: source for name in ("train", "validation", "test") if (source := getattr(experiment, name)) is not None}
    scalars = {name: "schedule" if callable(value := getattr(experiment, name)) else value for name in _NUMBERS}
    return {
        "experiment": origin,
        "settings": scalars | {"peak learning rate": learning_rate, "model": repr(experiment.model)},
        "steps": experiment.steps,
        "classes": list(getattr(experiment.train, "classes", []) or []),
        "examples": {name: len(source) for name, source in sources.items()},
        "data": {name: _fingerprint(source, experiment.reads) for name, source in sources.items()},
    }


def _flat(config: dict) -> dict:
    """Everything that must be equal, by name. Paths need not: the data are told by what is in them."""
    origin = config["experiment"] or {}
    options = {name: value for name, value in origin.get("options", {}).items() if name not in origin["paths"]}
    data = {f"{name} {what}": value for what in ("examples", "data") for name, value in config[what].items()}
    return {**options, **config["settings"], **data, "classes": config["classes"], "steps": config["steps"]}


@contextlib.contextmanager
def held(workdir: Path):
    """Hold the run folder for this run alone. Raises ValueError where another process is training in it."""
    if not sharding.is_primary():
        yield
        return
    with (workdir / ".lock").open("w") as lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass  # a system without such locks
        except BlockingIOError:
            raise ValueError(f"{workdir}: another process is training in this folder; wait for it, or give another --workdir") from None
        yield


def _completed_settings(config: dict) -> dict:
    """A folder's configuration with the defaults of settings that did not exist when it was written."""
    defaults = {field.name: field.default for field in dataclasses.fields(Experiment) if field.name in _NUMBERS}
    return config | {"settings": defaults | config["settings"]}


def claim(workdir: Path, config: dict) -> None:
    """Make the run folder, or make sure that it belongs to this very experiment.

    Raises ValueError naming the first option that differs from the run that is there.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / "config.json"
    if not path.exists():
        if sharding.is_primary():
            write_json(path, config)
        return
    before, now = _flat(_completed_settings(read_json(path))), _flat(json.loads(json.dumps(config, default=str)))
    for name in sorted(before.keys() | now.keys()):
        if name not in EXECUTION and before.get(name) != now.get(name):
            raise ValueError(
                f"{workdir}: this run was started with {name}={before.get(name)!r}, now {name}={now.get(name)!r}; "
                "give the same options to go on, or another --workdir to start afresh"
            )


def origin_of(config: Callable, options: dict) -> dict:
    """How to call an experiment's ``config`` again: its module, its file, its options."""
    module = config.__module__
    if module == "__main__":
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        module = spec.name if spec else None
    paths = [name for name, value in options.items() if isinstance(value, Path)]
    return {
        "module": module,
        "file": str(Path(config.__code__.co_filename).resolve()),
        "function": config.__name__,
        "options": {name: str(value.resolve()) if name in paths else value for name, value in options.items()},
        "paths": paths,
    }


def _config_function(origin: dict) -> Callable:
    try:
        module = importlib.import_module(origin["module"] or "")
    except (ImportError, ValueError):
        path = Path(origin["file"])
        if not path.is_file():
            raise ValueError(f"config.json: neither module {origin['module']!r} nor file {path} is there any more") from None
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return getattr(module, origin["function"])


def _typed(function: Callable, options: dict) -> dict:
    """Options from JSON or the command line, in the types of the function's signature.

    Raises ValueError for a name that the function does not have or a word that is no such value.
    """
    hints = typing.get_type_hints(function)
    if unknown := set(options) - set(hints):
        known = ", ".join(name for name in hints if name != "return")
        raise ValueError(f"{', '.join(sorted(unknown))}: no option of this experiment, which has {known}")

    def convert(name: str, value):
        types = {hints[name], *typing.get_args(hints[name])}
        if isinstance(value, list):
            return tuple(value)
        if not isinstance(value, str) or str in types:
            return value
        if bool in types:
            return value.lower() in ("1", "true", "yes")
        kind = next((kind for kind in (Path, int, float) if kind in types), str)
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"{name}: found {value!r}, expected {kind.__name__}") from None

    return {name: convert(name, value) for name, value in options.items()}


def load(run_folder: str | os.PathLike, *, step: int | None = None, **options) -> tuple[Experiment, state.TrainState]:
    """``(experiment, state)`` of a run that an experiment file made: its best step if it has one, else its newest, or ``step``.

    ``options`` replace those the run was started with, for example ``data=`` when the data have moved. The folder is only read.
    Raises ValueError when the folder is no run folder, holds no checkpoint, or was started
    from Python without an experiment file: build the experiment there and call ``restore(experiment, run_folder)``.
    """
    run_folder = Path(run_folder)
    origin = read_json(run_folder / "config.json")["experiment"]
    if origin is None:
        raise ValueError(
            f"{run_folder}: not made by an experiment file; build its Experiment and call jv.train.restore(experiment, folder)"
        )
    function = _config_function(origin)
    experiment = function(**_typed(function, origin["options"] | options))
    return experiment, restore(experiment, run_folder, step=step)


def restore(experiment: Experiment, run_folder: str | os.PathLike, *, step: int | None = None) -> state.TrainState:
    """The state of an experiment from its run folder: the best step where validation selected one, else the newest, or ``step``.

    Raises ValueError when there is no such checkpoint.
    """
    checkpoints = Checkpoints(Path(run_folder) / "checkpoints", keep=experiment.keep)
    try:
        chosen = step
        if step is None:
            chosen = checkpoints.latest(report=lambda line: print(line, file=sys.stderr), set_aside=False)
        if chosen is None or chosen not in checkpoints.steps():
            found = ", ".join(map(str, checkpoints.steps())) or "none"
            raise ValueError(f"{run_folder}: found checkpoints {found}" + (f", expected step {step}" if step else ""))
        template = sharding.place(fresh(experiment), fsdp=experiment.fsdp)
        loaded = checkpoints.restore(chosen, template)
        best = int(loaded.best.step)
        return checkpoints.restore(best, template) if step is None and best in checkpoints.steps() and best != chosen else loaded
    finally:
        checkpoints.close()


def fresh(experiment: Experiment) -> state.TrainState:
    """The state of an experiment before its first step."""
    train, rows = experiment.train, sharding.process_rows(experiment.batch_size)
    few = rows if hasattr(train, "streams") else (0, 2)  # further streams may give less than a row to two
    breakage = _unheard(train, experiment.broken_share)
    batches = data.batches(train, max(2, rows[1]), seed=experiment.seed, steps=1, rows=few, threads=0, prefetch=0, breakage=breakage)
    return state.init(
        experiment.objective,
        experiment.optimizer,
        next(iter(batches)),
        key=jax.random.key(experiment.seed),
        augment=experiment.augment,
        ema=experiment.ema,
        given=experiment.given,
    )

"""The run folder: what a run trains, where it ran, its results, and how an experiment is loaded from it."""

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
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
from jaxvision.evaluate.best_epoch import selecting_metric
from jaxvision.train import options as run_options
from jaxvision.train import sharding, state
from jaxvision.train.checkpoint import Checkpoints
from jaxvision.train.console import value_of
from jaxvision.train.experiment import Experiment
from jaxvision.train.options import RunOptions

_SETTINGS = ("epochs", "batch_size", "seed", "accumulate", "ema", "evaluate_every", "evaluated", "best", "mode", "patience")


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


def _fingerprint(source, reads: tuple[str, ...]) -> str:
    """A digest of a source: of the first example's fields that the model reads, and of the labels unless reading them is expensive."""
    silent = data.Breakage(len(source), share=1.0, report=lambda line: None)
    first = next(data.padded_batches(source, 1, threads=0, breakage=silent))  # zeros where it is broken
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(first[name]).tobytes() for name in reads))
    if not getattr(source, "labels_fit_classes", False):
        digest.update(np.ascontiguousarray(source.labels).tobytes())
    return digest.hexdigest()[:16]


def settings(experiment: Experiment, options: RunOptions, origin: dict | None, learning_rate: float | None) -> dict:
    """The contents of ``config.json``: the experiment file and its options, the settings that identify the run, and ``options``.

    ``options`` are those with which the run was started; it may be resumed with other options.
    """
    sources = {name: source for name in ("train", "validation", "test") if (source := getattr(experiment, name)) is not None}
    scalars = {name: "schedule" if callable(value := getattr(experiment, name)) else value for name in _SETTINGS}
    return {
        "experiment": origin,
        "settings": scalars | {"peak learning rate": learning_rate, "model": repr(experiment.model)},
        "steps": experiment.steps,
        "classes": list(getattr(experiment.train, "classes", []) or []),
        "examples": {name: len(source) for name, source in sources.items()},
        "data": {name: _fingerprint(source, experiment.reads) for name, source in sources.items()},
        "options": {name: getattr(options, name) for name in run_options.COMMAND_LINE},
    }


def _identity(config: dict) -> dict:
    """The settings that must be equal when a run resumes, by name. Paths and run options may differ; data are compared by their contents.

    Folders of earlier versions hold run options among the settings, and lack settings that did not exist: those have their defaults.
    """
    origin = config["experiment"] or {}
    given = {name: value for name, value in origin.get("options", {}).items() if name not in origin["paths"]}
    defaults = {field.name: field.default for field in dataclasses.fields(Experiment) if field.name in _SETTINGS}
    sources = {f"{name} {what}": value for what in ("examples", "data") for name, value in config[what].items()}
    found = {**given, **defaults, **config["settings"], **sources, "classes": config["classes"], "steps": config["steps"]}
    return {name: value for name, value in found.items() if name not in run_options.NAMES}


@contextlib.contextmanager
def held(workdir: Path):
    """Lock the run folder for this process. Raises ValueError where another process is training in it."""
    if not sharding.is_primary():
        yield
        return
    with (workdir / ".lock").open("w") as lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass  # this system has no such locks
        except BlockingIOError:
            raise ValueError(f"{workdir}: another process is training in this folder; wait for it, or give another --workdir") from None
        yield


def claim(workdir: Path, config: dict) -> None:
    """Make the run folder, or make sure that it belongs to this very experiment.

    Raises ValueError naming the first setting that differs from the run that is there, or where config.json has another form or the
    folder cannot be made.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"workdir: found {str(workdir)!r}, expected a folder that can be made: {error.strerror}") from None
    path = workdir / "config.json"
    if not path.exists():
        if sharding.is_primary():
            write_json(path, config)
        return
    stored = read_json(path)
    if missing := [name for name in config if name != "options" and name not in stored]:
        raise ValueError(f"{path}: found no {missing[0]}, expected the file of a run; another --workdir starts a new run")
    before, now = _identity(stored), _identity(json.loads(json.dumps(config, default=str)))
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise ValueError(
                f"{workdir}: this run was started with {name}={before.get(name)!r}, now {name}={now.get(name)!r}; "
                "give the same options to resume it, or another --workdir to start a new run"
            )


def result_of(metrics: dict[str, float], best: str | None) -> str:
    """The metric that sums up a run, as text: ``best`` where it is there, else top1, else map, else the first."""
    name = selecting_metric(metrics, best if best in metrics else None)
    return f"{name} {value_of(name, metrics[name])}"


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
            raise ValueError(f"config.json: neither module {origin['module']!r} nor file {path} exists any more") from None
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


def _arguments_of(function: Callable, stored: dict, replaced: dict) -> dict:
    """The arguments of ``config`` from a run folder; a former argument that is now a run option is left out."""
    former = {name for name in stored if name in run_options.NAMES} - inspect.signature(function).parameters.keys()
    return _typed(function, {name: value for name, value in stored.items() if name not in former} | replaced)


def load(
    run_folder: str | os.PathLike, *, step: int | None = None, options: RunOptions = RunOptions(), **arguments: typing.Any
) -> tuple[Experiment, state.TrainState]:
    """``(experiment, state)`` of a run that an experiment file made: its best step if it has one, else its newest, or ``step``.

    ``arguments`` replace those of ``config`` that the run was started with, for example ``data=`` when the data have moved. ``options``
    say how the state is placed (``fsdp``). The folder is only read.
    Raises ValueError when the folder is no run folder, holds no checkpoint, or was started from Python without an experiment file; in
    the last case build the experiment and call ``restore(experiment, run_folder)``.

    >>> import tempfile, jaxvision as jv
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     jv.train.load(folder)  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ValueError: not a run folder
    """
    run_folder = Path(run_folder)
    origin = read_json(run_folder / "config.json")["experiment"]
    if origin is None:
        raise ValueError(
            f"run_folder: {run_folder} was not made by an experiment file; build its Experiment and call "
            "jv.train.restore(experiment, run_folder)"
        )
    function = _config_function(origin)
    experiment = function(**_arguments_of(function, origin["options"], arguments))
    return experiment, restore(experiment, run_folder, step=step, options=options)


def restore(
    experiment: Experiment, run_folder: str | os.PathLike, *, step: int | None = None, options: RunOptions = RunOptions()
) -> state.TrainState:
    """The state of an experiment from its run folder: the best step where validation selected one, else the newest, or ``step``.

    ``options`` say how the state is placed (``fsdp``). The model is not initialized. Raises ValueError when there is no such checkpoint.

    >>> import tempfile, jaxvision as jv  # slow
    >>> model, source = jv.create_model("lenet5", num_classes=10), jv.data.subset(jv.data.digits("train"), range(64))
    >>> experiment = jv.train.Experiment(model, jv.objectives.supervised(model), jv.train.sgd(0.1), source, epochs=1, batch_size=32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = jv.train.run(experiment, folder)  # doctest: +ELLIPSIS
    ...     print(int(jv.train.restore(experiment, folder).step))
    LeNet5: 64 training examples...
    2
    """
    template = experiment.initializer(broken_share=options.broken_share).template()
    return restored(Path(run_folder), sharding.placed_template(template, fsdp=options.fsdp), step=step)


def restored(run_folder: Path, template: state.TrainState, *, step: int | None = None) -> state.TrainState:
    """The state that ``restore`` returns, placed as ``template`` says."""
    with contextlib.closing(Checkpoints(run_folder / "checkpoints")) as checkpoints:
        chosen = step
        if step is None:
            chosen = checkpoints.latest(report=lambda line: print(line, file=sys.stderr), set_aside=False)
        if chosen is None or chosen not in checkpoints.steps():
            found = ", ".join(map(str, checkpoints.steps())) or "none"
            raise ValueError(f"run_folder: found checkpoints {found} in {run_folder}" + (f", expected step {step}" if step else ""))
        loaded = checkpoints.restore(chosen, template)
        best = int(loaded.best.step)
        return checkpoints.restore(best, template) if step is None and best in checkpoints.steps() and best != chosen else loaded

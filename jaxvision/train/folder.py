"""The run folder: what was asked for, where it ran, what came out, and the way back from a folder to its experiment."""

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

from jaxvision.train import sharding, state
from jaxvision.train.checkpoint import Checkpoints
from jaxvision.train.experiment import Experiment

_NUMBERS = (
    *("epochs", "batch_size", "seed", "accumulate", "ema", "log_every", "save_every", "keep", "best", "patience"),
    *("driver", "fsdp", "threads"),
)
# Options that change how a run is executed and not one number of its result: a run may go on with others.
EXECUTION = ("driver", "fsdp", "threads")


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


def environment() -> dict:
    """Versions, devices, machine and command line of this process."""
    packages = ("jaxvision", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "chex", "numpy")
    versions = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed as a package"
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
    return {
        "command": " ".join([Path(sys.executable).name, *sys.orig_argv[1:]]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "devices": [str(device.device_kind) for device in jax.devices()],
        "processes": jax.process_count(),
        "commit": commit.stdout.strip() or None,
        "versions": versions,
    }


def settings(experiment: Experiment, origin: dict | None) -> dict:
    """What ``config.json`` says: the experiment file and its options, and the numbers that any run has."""
    scalars = {name: "schedule" if callable(value := getattr(experiment, name)) else value for name in _NUMBERS}
    return {
        "experiment": origin,
        "settings": scalars,
        "steps": experiment.steps,
        "classes": list(getattr(experiment.train, "classes", []) or []),
        "examples": {name: len(source) for name in ("train", "validation", "test") if (source := getattr(experiment, name)) is not None},
    }


def _flat(config: dict) -> dict:
    options = (config.get("experiment") or {}).get("options", {})
    return {
        **options,
        **config["settings"],
        **{f"{name} examples": count for name, count in config["examples"].items()},
        "steps": config["steps"],
    }


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
    before, now = _flat(read_json(path)), _flat(json.loads(json.dumps(config, default=str)))
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
    return {"module": module, "file": str(Path(config.__code__.co_filename).resolve()), "function": config.__name__, "options": options}


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
    """Options read from JSON, in the types that the function's signature names where JSON has no word for them."""
    hints = typing.get_type_hints(function)

    def convert(name: str, value):
        types = {hints.get(name), *typing.get_args(hints.get(name))}
        if isinstance(value, str) and Path in types:
            return Path(value)
        return tuple(value) if isinstance(value, list) else value

    return {name: convert(name, value) for name, value in options.items()}


def load(run_folder: str | os.PathLike, *, step: int | None = None, **options) -> tuple[Experiment, state.TrainState]:
    """``(experiment, state)`` of a run that an experiment file made: its best step if it has one, else its newest, or ``step``.

    ``options`` replace those the run was started with, for example ``data=`` when the data have moved. The folder is not changed
    (but a damaged checkpoint is set aside). Raises ValueError when the folder is no run folder, holds no checkpoint, or was started
    from Python without an experiment file: build the experiment there and call ``restore(experiment, run_folder)``.
    """
    run_folder = Path(run_folder)
    origin = read_json(run_folder / "config.json")["experiment"]
    if origin is None:
        raise ValueError(
            f"{run_folder}: not made by an experiment file; build its Experiment and call jv.train.restore(experiment, folder)"
        )
    function = _config_function(origin)
    experiment = function(**(_typed(function, origin["options"]) | options))
    return experiment, restore(experiment, run_folder, step=step)


def restore(experiment: Experiment, run_folder: str | os.PathLike, *, step: int | None = None) -> state.TrainState:
    """The state of an experiment from its run folder: the best step where validation selected one, else the newest, or ``step``.

    Raises ValueError when there is no such checkpoint.
    """
    checkpoints = Checkpoints(Path(run_folder) / "checkpoints", keep=experiment.keep)
    newest = checkpoints.latest()
    if newest is None or (step is not None and step not in checkpoints.steps()):
        raise ValueError(f"{run_folder}: found checkpoints {checkpoints.steps() or 'none'}" + (f", expected step {step}" if step else ""))
    template = sharding.place(fresh(experiment), fsdp=experiment.fsdp)
    loaded = checkpoints.restore(newest if step is None else step, template)
    best = int(loaded.best.step)
    if step is None and best >= 0 and best in checkpoints.steps():
        loaded = checkpoints.restore(best, template)
    checkpoints.close()
    return loaded


def fresh(experiment: Experiment) -> state.TrainState:
    """The state of an experiment before its first step."""
    from jaxvision import data

    batches = data.batches(experiment.train, min(2, len(experiment.train)), seed=experiment.seed, steps=1, threads=0, prefetch=0)
    return state.init(
        experiment.objective,
        experiment.optimizer,
        next(iter(batches)),
        key=jax.random.key(experiment.seed),
        augment=experiment.augment,
        ema=experiment.ema,
        given=experiment.given,
    )

"""From an experiment file to a command: the keyword arguments of its ``config`` are the options."""

import dataclasses
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from jaxvision.train import run_folder, sharding
from jaxvision.train.allocator import keep_memory
from jaxvision.train.experiment import Experiment
from jaxvision.train.loop import NotFinite, run
from jaxvision.train.signals import Interrupted

# name -> (type, default, meaning); every experiment has them beside its own
_RUN_OPTIONS = {
    "workdir": (Path | None, None, "The run folder; by default runs/<experiment>. The same command again resumes there."),
    "driver": (sharding.Driver | None, None, "How the step runs on several devices; the same numbers each. By default jit."),
    "fsdp": (bool | None, None, "Also split parameters and optimizer state over the devices (driver jit)."),
    "remat": (
        tuple[str, ...] | None,
        None,
        "Names of the values kept for the gradients, such as shortcut; all others are computed again, to save memory.",
    ),
    "threads": (int | None, None, "Threads that read and decode images."),
    "resident": (bool | None, None, "Keep the training images on the device (small sets in memory)."),
    "steps_per_call": (int | None, None, "Steps of one compiled program, for small models; none goes on past an epoch's end."),
    "broken_share": (float | None, None, "Share of a source that may be unreadable before the run stops. By default 0.01."),
    "coordinator": (str | None, None, "host:port of process 0, for a run over several processes."),
    "processes": (int | None, None, "The number of processes of the run."),
    "process": (int | None, None, "The number of this process, from 0."),
}


def _with_run_options(config: Callable) -> Callable:
    """A function with ``config``'s options and the run's, and a docstring that explains both, which returns them as a dict."""
    signature = inspect.signature(config, eval_str=True)
    if clash := set(signature.parameters) & set(_RUN_OPTIONS):
        raise TypeError(f"config: {', '.join(sorted(clash))} is an option of every experiment; rename it")

    def collect(**options):
        return options

    kind = inspect.Parameter.KEYWORD_ONLY
    own = [inspect.Parameter(name, kind, default=default, annotation=type_) for name, (type_, default, _) in _RUN_OPTIONS.items()]
    parameters = [*(parameter.replace(kind=kind) for parameter in signature.parameters.values()), *own]
    collect.__signature__ = inspect.Signature(parameters)
    collect.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    collect.__name__ = config.__name__
    documentation = inspect.getdoc(config) or ""
    documentation += "" if "Args:" in documentation else "\n\nArgs:"
    collect.__doc__ = documentation + "".join(f"\n    {name}: {meaning}" for name, (_, _, meaning) in _RUN_OPTIONS.items())
    return collect


def _name(config: Callable) -> str:
    module = run_folder.origin_of(config, {})["module"]
    return module.rpartition(".")[2] if module else Path(config.__code__.co_filename).stem


def main(config: Callable[..., Experiment], arguments: list[str] | None = None) -> None:
    """Run an experiment from the command line: ``config``'s keyword arguments are its options, explained by its docstring's ``Args:``.

    Adds ``--workdir``, ``--driver`` and what else every run has. Errors that the user can mend end the process with one line and
    exit code 2 (JAXVISION_TRACEBACK=1 shows where they come from), a request to stop with 75 after saving; both leave a folder that the
    same command goes on with.
    """
    keep_memory()
    try:
        import tyro
    except ImportError:
        sys.exit("jv.train.main reads the command line with tyro, which is not installed: pip install tyro")
    module = inspect.getmodule(config)
    program = f"python -m {run_folder.origin_of(config, {})['module'] or module.__file__}"
    options = tyro.cli(_with_run_options(config), prog=program, args=arguments, description=(module.__doc__ or "").strip() or None)
    own = {name: options.pop(name) for name in _RUN_OPTIONS}
    with mistakes_in_one_line(_name(config)):
        sharding.initialize_distributed(own["coordinator"], own["processes"], own["process"])
        _cache_compilations()
        experiment = config(**options)
        experiment = dataclasses.replace(experiment, **{name: own[name] for name in run_folder.EXECUTION if own[name] is not None})
        workdir = own["workdir"] or Path("runs") / (_name(config) + ("-smoke" if options.get("smoke") else ""))
        try:
            run(experiment, workdir, origin=run_folder.origin_of(config, options))
        except Interrupted as stopped:
            print(stopped, file=sys.stderr)
            raise


@contextmanager
def mistakes_in_one_line(program: str) -> Iterator[None]:
    """What a user can mend ends the process with one line and exit code 2; with JAXVISION_TRACEBACK=1 it is raised, to show where."""
    try:
        yield
    except (ValueError, OSError, NotFinite, ModuleNotFoundError) as error:
        if os.environ.get("JAXVISION_TRACEBACK"):
            raise
        print(f"{program}: {error} (JAXVISION_TRACEBACK=1 shows where)", file=sys.stderr)
        sys.exit(2)


def _cache_compilations() -> None:
    """Compiled programs are kept between runs, unless the user's own settings say otherwise."""
    if not jax.config.jax_compilation_cache_dir:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jaxvision" / "compilations"
        jax.config.update("jax_compilation_cache_dir", str(cache))

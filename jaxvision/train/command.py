"""``main``: an experiment file as a command. The keyword arguments of its ``config`` and the run options are the flags."""

import dataclasses
import inspect
import os
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import jax

from jaxvision.train import run_folder, sharding
from jaxvision.train.allocator import keep_memory
from jaxvision.train.experiment import Experiment
from jaxvision.train.loop import run
from jaxvision.train.options import COMMAND_LINE, RunOptions
from jaxvision.train.signals import Interrupted
from jaxvision.train.stepping import NotFinite

# name -> (type, meaning), in addition to the run options; all are None where they are not given
_PLACE = {
    "workdir": (Path | None, "The run folder; by default runs/<experiment>. The same command again resumes there."),
    "coordinator": (str | None, "host:port of process 0, for a run over several processes."),
    "processes": (int | None, "The number of processes of the run."),
    "process": (int | None, "The number of this process, from 0."),
}


def _flags() -> dict[str, tuple]:
    """{name: (type, default, meaning)} of what every experiment has on its command line in addition to the arguments of its ``config``."""
    found = {name: (kind, None, meaning) for name, (kind, meaning) in _PLACE.items()}
    hints = typing.get_type_hints(RunOptions)
    for name, field in COMMAND_LINE.items():  # None: not given; a flag that is on or off has its default, see _given
        is_switch = hints[name] is bool
        found[name] = (hints[name] if is_switch else hints[name] | None, field.default if is_switch else None, field.metadata["meaning"])
    return found


def _with_flags(config: Callable) -> Callable:
    """A function with ``config``'s arguments and the run's, and a docstring that explains both, which returns them as a dict."""
    signature, flags = inspect.signature(config, eval_str=True), _flags()
    if clash := set(signature.parameters) & {*flags, "options", "step", "hint", "draw"}:
        raise TypeError(f"config: found the argument {', '.join(sorted(clash))}, which every experiment has; rename it")

    def collect(**arguments):
        return arguments

    kind = inspect.Parameter.KEYWORD_ONLY
    own = [inspect.Parameter(name, kind, default=default, annotation=type_) for name, (type_, default, _) in flags.items()]
    parameters = [*(parameter.replace(kind=kind) for parameter in signature.parameters.values()), *own]
    collect.__signature__ = inspect.Signature(parameters)
    collect.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    collect.__name__ = config.__name__
    documentation = inspect.getdoc(config) or ""
    documentation += "" if "Args:" in documentation else "\n\nArgs:"
    collect.__doc__ = documentation + "".join(f"\n    {name}: {meaning}" for name, (_, _, meaning) in flags.items())
    return collect


def _given(values: dict, words: Sequence[str]) -> dict:
    """The run options that a command line has: those that are not None, and switches that are among its ``words``."""
    flags = {word.partition("=")[0].lstrip("-").replace("-", "_") for word in words if word.startswith("--")}
    named = {name for name in values if {name, f"no_{name}"} & flags}
    return {name: value for name, value in values.items() if name in COMMAND_LINE and value is not None and name in named}


def _name(config: Callable) -> str:
    module = run_folder.origin_of(config, {})["module"]
    return module.rpartition(".")[2] if module else Path(config.__code__.co_filename).stem


def main(
    config: Callable[..., Experiment],
    arguments: list[str] | None = None,
    *,
    options: RunOptions | Callable[..., RunOptions] = RunOptions(),
) -> None:
    """Run an experiment from the command line: ``config``'s keyword arguments are its flags, explained by its docstring's ``Args:``.

    Adds ``--workdir`` and the run options, such as ``--driver``. ``options`` are the experiment's own defaults of these: ``RunOptions``,
    or a function ``(experiment, **arguments of config) -> RunOptions``, for a ``draw`` or ``title`` that depends on them.

    Errors that the user can correct end the process with one line and exit code 2 (JAXVISION_TRACEBACK=1 shows where they come from), a
    request to stop with 75 after saving; after both the same command resumes.

    >>> import tempfile, jaxvision as jv  # slow
    >>> from experiments import lenet_digits
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +ELLIPSIS
    ...     jv.train.main(lenet_digits.config, ["--smoke", "--workdir", folder, "--log-every", "1"])
    LeNet5: 128 training examples...
    """
    keep_memory()
    try:
        import tyro
    except ImportError:
        sys.exit("jv.train.main reads the command line with tyro, which is not installed: pip install tyro")
    module = inspect.getmodule(config)
    program = f"python -m {run_folder.origin_of(config, {})['module'] or module.__file__}"
    values = tyro.cli(_with_flags(config), prog=program, args=arguments, description=(module.__doc__ or "").strip() or None)
    own = {name: values.pop(name) for name in _flags()}
    with mistakes_in_one_line(_name(config)):
        sharding.initialize_distributed(own["coordinator"], own["processes"], own["process"])
        _cache_compilations()
        experiment = config(**values)
        defaults = options(experiment, **values) if callable(options) else options
        chosen = dataclasses.replace(defaults, **_given(own, sys.argv[1:] if arguments is None else arguments))
        workdir = own["workdir"] or Path("runs") / (_name(config) + ("-smoke" if values.get("smoke") else ""))
        try:
            run(experiment, workdir, chosen, origin=run_folder.origin_of(config, values))
        except Interrupted as stopped:
            print(stopped, file=sys.stderr)
            raise


@contextmanager
def mistakes_in_one_line(program: str) -> Iterator[None]:
    """End the process with one line and exit code 2 for an error that the user can correct; with JAXVISION_TRACEBACK=1 raise it."""
    try:
        yield
    except (ValueError, OSError, NotFinite, ModuleNotFoundError) as error:
        if os.environ.get("JAXVISION_TRACEBACK"):
            raise
        print(f"{program}: {error} (JAXVISION_TRACEBACK=1 shows where)", file=sys.stderr)
        sys.exit(2)


def _cache_compilations() -> None:
    """Keep compiled programs between runs, unless the user's own settings say otherwise."""
    if not jax.config.jax_compilation_cache_dir:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jaxvision" / "compilations"
        jax.config.update("jax_compilation_cache_dir", str(cache))

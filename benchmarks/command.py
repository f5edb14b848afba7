"""Command lines of benchmarks: a mistake of the user ends the process with one line."""

import argparse
import os
import sys
from collections.abc import Callable

from jaxvision.train.command import mistakes_in_one_line

_DEVICES = "xla_force_host_platform_device_count"


def parser(documentation: str) -> argparse.ArgumentParser:
    """A parser whose help text is the docstring of a module."""
    return argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)


def positive(text: str) -> int:
    """The type of an option that is a positive integer."""
    try:
        found = int(text)
    except ValueError:
        found = 0
    if found < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number, at least 1")
    return found


def network(text: str) -> str:
    """The type of an option that names a model of this library."""
    import jaxvision as jv

    try:
        jv.create_model(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def run(main: Callable[[], None]) -> None:
    """Run ``main()``. A wrong value or path, a missing package, different results and Ctrl-C end the process with one line.

    The exit code is 2, after Ctrl-C 130. JAXVISION_TRACEBACK=1 shows where an error comes from.
    """
    program = os.path.basename(sys.argv[0]).removesuffix(".py")
    try:
        with mistakes_in_one_line(program):
            main()
    except KeyboardInterrupt:
        print(f"\n{program}: stopped", file=sys.stderr)
        sys.exit(130)


def run_on_eight_devices(name: str, main: Callable[[], None]) -> None:
    """``run(main)`` on a CPU with eight simulated devices. The process restarts as ``benchmarks.<name>`` if it has one device."""
    flags = os.environ.get("XLA_FLAGS", "")
    if _DEVICES not in flags:
        program = [sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]]
        os.execve(sys.executable, program, os.environ | {"XLA_FLAGS": f"{flags} --{_DEVICES}=8".strip()})
    run(main)

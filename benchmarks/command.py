"""A benchmark as a command: what its user can mend ends it with one line."""

import argparse
import os
import sys
from collections.abc import Callable


def parser(documentation: str) -> argparse.ArgumentParser:
    """Of a command that is explained by its module's docstring."""
    return argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)


def positive(text: str) -> int:
    """An option that counts something."""
    try:
        found = int(text)
    except ValueError:
        found = 0
    if found < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number, at least 1")
    return found


def network(text: str) -> str:
    """An option that names one of this library's networks."""
    import jaxvision as jv

    try:
        jv.create_model(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def run(main: Callable[[], None]) -> None:
    """``main()``; a wrong value, path or missing package, sides that differ, and Ctrl-C end the process with one line.

    Exit codes: 2, of Ctrl-C 130. JAXVISION_TRACEBACK=1 shows where an error comes from.
    """
    program = os.path.basename(sys.argv[0]).removesuffix(".py")
    try:
        main()
    except KeyboardInterrupt:
        print(f"\n{program}: stopped", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if os.environ.get("JAXVISION_TRACEBACK"):
            raise
        print(f"{program}: {error} (JAXVISION_TRACEBACK=1 shows where)", file=sys.stderr)
        sys.exit(2)

"""Starts the module of a benchmark twice, as two processes of one run with four simulated devices each."""

import os
import socket
import subprocess
import sys
from pathlib import Path


def free_address() -> str:
    """A free port of this machine, as HOST:PORT."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return f"localhost:{probe.getsockname()[1]}"


def together(module: str, arguments: list[str]) -> None:
    """Run ``python -m module ARGUMENTS --coordinator HOST:PORT --process I`` for I = 0 and 1. Raises RuntimeError if one fails."""
    command = [sys.executable, "-m", module, *arguments, "--coordinator", free_address()]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"  # of two values the last one counts
    environment = os.environ | {"XLA_FLAGS": flags.strip()}
    root = Path(__file__).parents[1]
    workers = [subprocess.Popen([*command, "--process", str(process)], env=environment, cwd=root) for process in range(2)]
    codes = [worker.wait(600) for worker in workers]
    if any(codes):
        raise RuntimeError(f"{module} {' '.join(arguments)} in two processes: exit codes {codes}")

"""Freed memory is kept for the next step."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import resource, sys
import jax, jax.numpy as jnp
import jaxvision as jv

kept = sys.argv[1] == "kept" and jv.train.keep_memory()
step = jax.jit(lambda x: jnp.cumsum(jnp.sort(x @ x, axis=0), axis=1).sum())  # temporaries of 3 x 16 MiB
x = jnp.ones((2048, 2048)) / 2048
touched = []
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step(x).block_until_ready()
    touched.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(kept, min(touched))
"""


def touched(how: str) -> tuple[bool, int]:
    """(whether memory is kept, the smallest number of page faults in a step)."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}  # one device
    command = [sys.executable, "-c", PROGRAM, how]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=True).stdout.split()
    return found[0] == "True", int(found[1])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="no glibc here: memory is NOT kept")
def test_a_step_causes_few_page_faults():
    (fresh, many), (kept, few) = touched("fresh"), touched("kept")
    assert kept and not fresh
    assert many > 4000 and few < many / 10


HEAP = """
import ctypes, sys
import jaxvision as jv

jv.train.keep_memory()
library = ctypes.CDLL(None)
library.malloc.restype = library.sbrk.restype = ctypes.c_void_p
library.malloc.argtypes, library.free.argtypes, library.sbrk.argtypes = [ctypes.c_size_t], [ctypes.c_void_p], [ctypes.c_ssize_t]
block = library.malloc(5 * 2**29)
end = library.sbrk(0)
library.free(block)
print(end - library.sbrk(0))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="no glibc here: memory is NOT kept")
def test_a_block_of_more_than_two_gibibytes_is_kept():
    """The end of the heap does not move back. No page of the block is touched."""
    found = subprocess.run([sys.executable, "-c", HEAP], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(found.stdout) == 0

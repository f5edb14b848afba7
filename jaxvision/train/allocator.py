"""Settings of the system's memory allocator that make training on a CPU faster."""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # options of mallopt(3)
_NEVER = -1  # mallopt's value for "never trim"; the largest int is 2 GiB, and the temporaries of a step may exceed that


def keep_memory() -> bool:
    """Let the allocator keep freed memory for the next step. Returns whether the allocator supports it (glibc does).

    XLA allocates the temporaries of each step anew. By default glibc returns such large blocks to the system at once, so that every step
    pays for page faults on all of them (docs/kernels/runtime.md has the cost). The setting is for the whole process: its memory does not
    shrink any more. It applies to threads that start later, so call it before JAX computes anything. ``jv.train.main`` calls it.

    >>> import jaxvision as jv
    >>> isinstance(jv.train.keep_memory(), bool)
    True
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return all([library.mallopt(option, value) for option, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER))])

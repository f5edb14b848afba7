"""What a process does with memory that it has freed."""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # options of mallopt(3)
_NEVER = -1  # by mallopt(3); a largest int would be 2 GiB, which a step's temporaries may exceed


def keep_memory() -> bool:
    """Keep what a step on a CPU has freed for the next one; whether the system's allocator is one that can (glibc).

    XLA asks for the temporaries of a step anew in each, and glibc hands blocks so large back to the system at once, so that every step
    touches every page of them for the first time (docs/kernels/runtime.md has what that costs). It is a setting of the whole process, whose
    memory then never shrinks, and holds for threads that begin later: ``jv.train.main`` makes it for its commands; in a script of your own
    call it before JAX has computed anything.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return all([library.mallopt(option, value) for option, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER))])

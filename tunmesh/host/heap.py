"""Returns free heap memory to the kernel after work that needed much of it for a moment.

glibc keeps what it expects to need again: once a block of 16 MiB has been freed, as scrypt's is,
the next one comes from the heap and stays there for the life of the process (mallopt(3),
M_MMAP_THRESHOLD).
"""

from __future__ import annotations

import ctypes

_libc = ctypes.CDLL(None)
_M_ARENA_MAX = -8  # malloc.h


def share() -> None:
    """Make all threads that start from now on allocate from one arena: `trim` does not return
    what a thread has freed at the end of an arena of its own."""
    choose = getattr(_libc, "mallopt", None)
    if choose is not None:
        choose(_M_ARENA_MAX, 1)


def trim() -> None:
    """Return whole free pages, in a few milliseconds. Does nothing where the C library cannot."""
    release = getattr(_libc, "malloc_trim", None)
    if release is not None:
        release(0)

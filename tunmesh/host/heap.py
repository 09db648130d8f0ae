"""Returns free heap memory to the kernel after work that needed much of it for a moment, and keeps
the garbage collector from what is no garbage.

glibc keeps what it expects to need again: once a block of 16 MiB has been freed, as scrypt's is,
the next one comes from the heap and stays there for the life of the process (mallopt(3),
M_MMAP_THRESHOLD).
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

_libc = ctypes.CDLL(None)
_M_ARENA_MAX = -8  # malloc.h


def share() -> None:
    """Make all threads that start from now on allocate from one arena: `trim` does not return
    what a thread has freed at the end of an arena of its own."""
    choose = getattr(_libc, "mallopt", None)
    if choose is not None:
        choose(_M_ARENA_MAX, 1)


@contextmanager
def lasting() -> Iterator[None]:
    """While all that is made stays for the life of the process, as what is imported does: do not
    look for garbage, and never again in what there is by then. To look through a node's modules
    takes 40 ms, for which no packet moves."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def trim() -> None:
    """Return whole free pages, in a few milliseconds. Does nothing where the C library cannot."""
    release = getattr(_libc, "malloc_trim", None)
    if release is not None:
        release(0)

"""Memory that is free goes back to the kernel, after what takes much of it for a moment.

glibc keeps what it expects to need again: once a block of 16 MiB was freed, as scrypt's is, the
next one comes from the heap, and stays there for as long as the process lives (mallopt(3),
M_MMAP_THRESHOLD).
"""

from __future__ import annotations

import ctypes

_libc = ctypes.CDLL(None)
_M_ARENA_MAX = -8  # malloc.h


def share() -> None:
    """Have all threads that begin from now on allocate from one heap. What a thread has freed at
    the end of a heap of its own is not given back by `trim`."""
    choose = getattr(_libc, "mallopt", None)
    if choose is not None:
        choose(_M_ARENA_MAX, 1)


def trim() -> None:
    """Give back whole free pages; where the C library cannot, nothing happens. Takes a few ms."""
    release = getattr(_libc, "malloc_trim", None)
    if release is not None:
        release(0)

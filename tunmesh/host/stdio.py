"""Standard input, output and error that are closed, full, or read by nobody.

A program that starts with one of the descriptors 0, 1 and 2 closed gives that number to the first
file or socket that it opens, and whatever is printed then goes there; Python has None in place of
`sys.stdout`. So /dev/null is put there first, as sshd does it (sanitise_stdfd).

Output that cannot be written stays in Python's buffer, is tried again when the program ends, and
changes its exit code to 120; after `discard` it does not.
"""

from __future__ import annotations

import os
import select
import sys

OUTPUT = 1
_LAST = 2


def open_closed() -> frozenset[int]:
    """Open /dev/null in place of each standard descriptor that is closed; which ones they were."""
    closed = set()
    fd = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    while fd <= _LAST:
        os.set_inheritable(fd, True)
        closed.add(fd)
        fd = os.dup(fd)
    os.close(fd)
    # Python's own, if they were closed when it started.
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
        closed.add(OUTPUT)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    return frozenset(closed)


def discard() -> None:
    """Send what standard output still has, and gets from now on, to /dev/null."""
    if sys.stdout is not sys.__stdout__:
        return  # a test took its place: nothing is left over in the real one
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, OUTPUT)
    os.close(null)


def is_unread() -> bool:
    """Whether standard output is a pipe or a socket whose other end is gone."""
    poll = select.poll()
    poll.register(OUTPUT, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def say(text: str) -> None:
    """Write text whose loss does not matter, because the exit code says the same."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError:
        discard()

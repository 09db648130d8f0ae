"""Standard streams that are closed, full, or not read by anybody.

If descriptor 0, 1 or 2 is closed at the start, the first file or socket that the program opens gets
that number, and everything printed goes there; `sys.stdout` is then None. So /dev/null is opened in
their place first, as sshd does (sanitise_stdfd).

Output that cannot be written stays in Python's buffer, is retried at exit, and changes the exit
code to 120. `discard` prevents that.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Mapping

OUTPUT = 1
_LAST = 2


def is_dumb(environ: Mapping[str, str]) -> bool:
    """Whether the terminal can only write one line below the other."""
    return environ.get("TERM") == "dumb"


def is_colourless(environ: Mapping[str, str]) -> bool:
    """Whether the terminal has no colours, or its user wants none (https://no-color.org)."""
    return bool(environ.get("NO_COLOR")) or is_dumb(environ)


def open_closed() -> frozenset[int]:
    """Open /dev/null for each standard descriptor that is closed. Returns which ones were."""
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
    """Send what standard output has buffered, and all later output, to /dev/null."""
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

"""The clean-up process of a local mesh: kills its processes and removes its directory.

The mesh starts it first, writes each process id that it starts as a line into a pipe, and closes
the pipe when it is done. The kernel closes the pipe when the mesh is killed, too, so there is only
one way of cleaning up, and it also works after `kill -9`.

A process id is turned into a pidfd as soon as it is read, so that a recycled number is never
killed. The janitor runs in a session of its own, so Ctrl-C at the terminal does not reach it.

`PR_SET_PDEATHSIG` is no alternative: the kernel clears it when a node changes its uid.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


class Janitor:
    """The mesh's end of the pipe."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, "-I", __file__, str(directory)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603

    def watch(self, pid: int) -> None:
        """Make sure that this process does not outlive the mesh."""
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(b"%d\n" % pid)
        self._process.stdin.flush()

    def close(self) -> None:
        """Kill the remaining processes and remove the directory; returns when that is done."""
        self._process.communicate()


def _clean_up(lines: Iterable[str], directory: Path) -> None:
    """Read process ids, one a line, until the pipe closes; then kill these and remove all."""
    watched = []
    for line in lines:
        with suppress(ProcessLookupError):
            watched.append(os.pidfd_open(int(line)))
    for process in watched:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
        select.select([process], [], [])  # a pidfd becomes readable when its process has ended
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    _clean_up(sys.stdin, Path(sys.argv[1]))

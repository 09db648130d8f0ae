"""How long this thread was runnable but waited for a CPU.

A share of wall-clock time is a poor budget on a busy machine, or in a container with a tenth of a
CPU: a third of wall-clock time may be all the CPU time that the node gets. The kernel counts in
`/proc/thread-self/schedstat`: nanoseconds on the CPU, nanoseconds of waiting for it (including
for a CPU quota to be refilled), and how often the thread was scheduled.

Source: Documentation/scheduler/sched-stats.rst in the Linux tree.
"""

from __future__ import annotations

import os
from pathlib import Path

_SCHEDSTAT = Path("/proc/thread-self/schedstat")
_LONGEST = 80  # bytes: three numbers of 64 bits


class CpuWait:
    """The counter of the thread that creates it. Keeps one file open for the process's life."""

    def __init__(self, schedstat: Path = _SCHEDSTAT) -> None:
        try:
            self._fd = os.open(schedstat, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1  # a kernel without the counter: no waiting is reported

    def waited(self) -> float:
        """Seconds that the thread has waited so far."""
        if self._fd < 0:
            return 0.0
        _, waited, _ = os.pread(self._fd, _LONGEST, 0).split()
        return int(waited) / 1e9

"""How long this thread was ready to run and did not get a processor.

A share of the time that passes is no measure where others run on the same processor, or where a
container is given a tenth of one: a third of all time may then be all that the node has. The kernel
keeps count in `/proc/thread-self/schedstat`: nanoseconds on the processor, nanoseconds of waiting
for it (for a quota to be renewed included), and how often the thread ran.

Source: Documentation/scheduler/sched-stats.rst in the Linux tree.
"""

from __future__ import annotations

import os
from pathlib import Path

_SCHEDSTAT = Path("/proc/thread-self/schedstat")
_LONGEST = 80  # bytes: three numbers of 64 bits


class RunQueue:
    """Of the thread that makes it. It keeps one file open, for as long as the process lives."""

    def __init__(self, schedstat: Path = _SCHEDSTAT) -> None:
        try:
            self._fd = os.open(schedstat, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1  # a kernel that does not keep count: then it never waited

    def waited(self) -> float:
        """Seconds, so far."""
        if self._fd < 0:
            return 0.0
        _, waited, _ = os.pread(self._fd, _LONGEST, 0).split()
        return int(waited) / 1e9

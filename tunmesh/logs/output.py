"""Where log lines go: a file descriptor that never makes the node wait.

Whoever reads standard output may stop doing so (a log collector that hangs, a terminal after
Ctrl-S), and once a pipe is full, which takes 64 KB, the next write waits for him: and with it every
packet and every ping, until the peers give the node up. A full disk or a reader that is gone gives
an error instead. In either case the line is dropped, and its writer is told why.

O_NONBLOCK would say the same, but belongs to the open file and not to us: whoever else has it (a
shell, another program in the same pipeline) would get errors that he does not expect. Opening it
anew from /proc/self/fd works for neither sockets nor another user's pipes. So the descriptor is
asked before each write, and no more is written at once than fits when it says yes: PIPE_BUF bytes,
see pipe(7).
"""

from __future__ import annotations

import os
import select

BLOCKED = "nobody reads them"


class Outlet:
    """Writes lines to a file descriptor, whole or not at all, unless the reader stops amid one."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._is_cut = False  # whether the last line lacks its end

    def write(self, text: str) -> str:
        """Write one or more lines; why they are lost, or nothing when they are not."""
        rest = memoryview(("\n" * self._is_cut + text).encode("utf-8", "backslashreplace"))
        begun = False
        try:
            while rest:
                if not self._poll.poll(0):
                    raise BlockingIOError
                rest = rest[os.write(self._fd, rest[: select.PIPE_BUF]) :]
                begun = True
        except BlockingIOError:
            why = BLOCKED
        except OSError as error:
            why = error.strerror or type(error).__name__
        else:
            self._is_cut = False
            return ""
        self._is_cut = self._is_cut or begun
        return why

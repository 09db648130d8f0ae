"""Where log lines go: a file descriptor that never makes the node wait.

The reader of standard output may stop reading (a log collector that hangs, a terminal after
Ctrl-S). Once the pipe is full, at 64 KB, the next write would block, and with it every packet and
every ping, until the peers give up on the node. A full disk, or a reader that is gone, gives an
error instead. In either case the line is dropped, and the caller is told why.

O_NONBLOCK would do the same, but it belongs to the open file and not to this process: others that
have it open (a shell, another program in the same pipeline) would get errors that they do not
expect. Opening the file anew through /proc/self/fd works for neither sockets nor another user's
pipes. So the descriptor is polled before each write, and no more is written at once than is sure to
fit when it is ready: PIPE_BUF bytes, see pipe(7).
"""

from __future__ import annotations

import os
import select

BLOCKED = "nobody reads them"


class NonblockingOutput:
    """Writes lines to a file descriptor, whole or not at all, unless the reader stops midway."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._is_cut = False  # the end of the last line is missing

    def write(self, text: str) -> str:
        """Write one or more lines. Returns why they are lost, or nothing if they are not."""
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

"""How much may wait in the send buffer of the socket: what the device sends in some milliseconds.

What waits there has left the fair queues, and nothing can overtake it. If the buffer is large, a
ping waits behind 200 ms of bulk data on a device of 20 Mbit/s; if it is small, a device of 1 Gbit/s
runs dry before it is the node's turn. So its size follows the pace of the device, measured from the
moment when the buffer is full until the kernel says that there is room again.

Measured with a token bucket on a busy machine: Mbit/s, and the median of a ping beside bulk data.

    device         32 KiB       128 KiB      256 KiB      1 MiB        adapted
      20 Mbit/s     18, 12 ms    19, 28 ms    19, 51 ms    20, 202 ms   19, 28 ms
     100 Mbit/s     50,  9 ms    55,  8 ms    95, 12 ms    97,  42 ms   91, 16 ms
    1000 Mbit/s    419,  8 ms   310,  8 ms   379,  8 ms   530,   8 ms  773,  8 ms

Source: SIOCOUTQ of udp(7), SO_SNDBUF of socket(7).
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
from collections.abc import Callable

DELAY = 0.015  # seconds that data may wait: a turn of the node's under load, and some more
SMALLEST, LARGEST = 32 * 1024, 1024 * 1024  # bytes, as the kernel counts them
_EMPTY = 4096  # less than this is nothing
_SIOCOUTQ = 0x5411  # linux/sockios.h


class SendBuffer:
    """The send buffer of a socket."""

    def __init__(self, bound: socket.socket, seconds: Callable[[], float]) -> None:
        self._socket = bound
        self._seconds = seconds
        self._size = bound.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        self._pace = 0.0  # bytes a second that the device takes
        self._was = 0  # bytes in it when it was full,
        self._since = 0.0  # at this time

    def filled(self) -> None:
        """There is no room."""
        self._was, self._since = self._left(), self._seconds()

    def drained(self) -> None:
        """There is room again."""
        left, seconds = self._left(), self._seconds() - self._since
        if seconds <= 0 or self._was <= left:
            return
        pace = (self._was - left) / seconds
        # It may have run dry long ago: then the device takes more than that.
        self._pace = pace if left >= _EMPTY else max(pace, self._pace)
        size = round(max(SMALLEST, min(DELAY * self._pace, LARGEST)))
        if not 3 * self._size // 4 <= size <= 4 * self._size // 3:
            # The kernel doubles what it is given, and allows no more than net.core.wmem_max.
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size // 2)
            self._size = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

    def _left(self) -> int:
        with contextlib.suppress(OSError):
            (left,) = struct.unpack("i", fcntl.ioctl(self._socket, _SIOCOUTQ, bytes(4)))
            return int(left)
        return 0

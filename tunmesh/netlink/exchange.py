"""Requests to the kernel, one after the other, each with its answer.

It blocks, mostly for a millisecond: for use before the reactor runs, and in the helper process, for
which it imports next to nothing. All waiting is in `send`, where the kernel does what is asked as
soon as nobody else changes devices or routes: the answer is there when it returns.

Sources: netlink(7), netlink_unicast_kernel in net/netlink/af_netlink.c, rtnetlink_rcv_msg in
net/core/rtnetlink.c.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Concatenate, ParamSpec

from tunmesh.netlink import changes, messages

_LARGEST_ANSWER = 1 << 14
_TIMEOUT = 1.0  # seconds for an answer that was lost, which would be waited for forever

_P = ParamSpec("_P")
_Making = Callable[Concatenate[int, _P], bytes]  # of netlink.changes: the sequence number is first


class Exchange:
    """A netlink socket, and who asks on it. Raises OSError, as all its methods do."""

    def __init__(self) -> None:
        self._sequence = 0
        self._socket = open_socket()
        self._socket.settimeout(_TIMEOUT)

    def ask(self, make: _Making[_P], *args: _P.args, **options: _P.kwargs) -> bytes:
        """The answer to the request that `make` makes of these arguments."""
        self._sequence += 1
        return self._answer(make(self._sequence, *args, **options))

    def change(self, make: _Making[_P], *args: _P.args, **options: _P.kwargs) -> None:
        """Let something be so. Raises OSError if the kernel refuses it."""
        _check(self.ask(make, *args, **options))

    def add(self, make: _Making[_P], *args: _P.args, **options: _P.kwargs) -> None:
        """The same of what must be new: if it is there already, the kernel refuses (EEXIST)."""
        self._sequence += 1
        _check(self._answer(messages.exclusive(make(self._sequence, *args, **options))))

    def close(self) -> None:
        self._socket.close()

    def _answer(self, request: bytes) -> bytes:
        self._socket.send(request)
        while True:
            answer = self._socket.recv(_LARGEST_ANSWER)
            if changes.sequence_of(answer) == self._sequence:
                return answer


def open_socket(groups: int = 0) -> socket.socket:
    """A netlink socket that is subscribed to these multicast groups. Raises OSError."""
    opened = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    )
    try:
        opened.bind((0, groups))
    except OSError:
        opened.close()
        raise
    return opened


def _check(answer: bytes) -> None:
    if code := changes.errno_of(answer):
        raise OSError(code, os.strerror(code))

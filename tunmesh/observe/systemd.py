"""Reports the state of the node to its supervisor by systemd's protocol (sd_notify(3)).

Datagrams with lines such as READY=1 go to the socket in $NOTIFY_SOCKET: a path or, with a leading
@, an abstract name. It is connected while the node is still root; later sends need no permission.
Without that variable nothing is reported.

    READY=1         packets are carried, and the port is bound; it may have no links yet
    STATUS=…        for `systemctl status`: how many nodes it is linked to, or why it is not ready
    WATCHDOG=1      the reactor runs; twice in each WATCHDOG_USEC
    RELOADING=1     the files are being read again; READY=1 follows
    STOPPING=1      the node is leaving the mesh

Nothing waits for the supervisor: datagrams that it does not take are lost.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, MutableMapping

from twisted.internet.interfaces import IReactorTime

from tunmesh.status.health import Health
from tunmesh.timers import Timer

PERIOD = 5.0  # seconds from one look at the health to the next, if the watchdog asks for no less


class Supervisor:
    """The supervisor of this process, `pid`. Its variables are removed from `environ`: child
    processes must not use them."""

    def __init__(self, clock: IReactorTime, environ: MutableMapping[str, str], pid: int) -> None:
        self._clock = clock
        self._socket = _connected(environ.pop("NOTIFY_SOCKET", ""))
        microseconds = environ.pop("WATCHDOG_USEC", "")
        is_ours = environ.pop("WATCHDOG_PID", str(pid)) == str(pid)
        patience = int(microseconds) / 1e6 if is_ours and microseconds.isdecimal() else 0.0
        self._watchdog = ["WATCHDOG=1"] if patience else []
        self._period = min(PERIOD, patience / 2) if patience else PERIOD
        self._timer = Timer(clock)
        self._reported = ""

    def started(self, health: Callable[[], Health]) -> None:
        """Report that the node is up, and its health from now on."""
        self._send("READY=1")
        if self._socket is not None:
            self._look(health)

    def reloading(self) -> None:
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(self._clock.seconds() * 1e6)}")

    def reloaded(self) -> None:
        self._send("READY=1")

    def stopping(self) -> None:
        self._timer.stop()
        self._send("STOPPING=1", "STATUS=leaving the mesh")

    def failed(self, why: str) -> None:
        self._send(f"STATUS={why}")

    def _look(self, health: Callable[[], Health]) -> None:
        self._timer.start(self._period, lambda: self._look(health))
        before, self._reported = self._reported, f"STATUS={_summary(health())}"
        lines = self._watchdog + ([self._reported] if self._reported != before else [])
        if lines:
            self._send(*lines)

    def _send(self, *lines: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send("\n".join(lines).encode())


def _connected(address: str) -> socket.socket | None:
    """A socket to the supervisor, if there is one and it can be reached."""
    if not address.startswith(("/", "@")):
        return None
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        made.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
    except OSError:
        made.close()
        return None
    return made


def _summary(health: Health) -> str:
    """Why it is not ready, or how many links it has."""
    wrong = [check.reason for check in health.ready if not check.ok]
    member = [check.reason for check in health.ready if check.name == "membership"]
    return "; ".join(wrong or member)

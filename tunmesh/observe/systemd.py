"""Tells who supervises the node how it is, as systemd wants to hear it (sd_notify(3)).

A datagram with lines such as READY=1 to the socket that $NOTIFY_SOCKET names, a path or, with @ in
front, an abstract name. It is connected while the node is still root: for what is sent over it
afterwards, the kernel asks no permission. Without that variable, nobody is told anything.

    READY=1         packets are carried, and the port is bound; not: linked to somebody
    STATUS=…        for `systemctl status`: whom the node is linked to, or why it is not ready
    WATCHDOG=1      the reactor turns; twice in each WATCHDOG_USEC
    RELOADING=1     the files are being read anew; READY=1 when they have been
    STOPPING=1      leaving the mesh

Nothing waits for the supervisor: what he does not take is lost.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, MutableMapping

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tunmesh.status import Health

PERIOD = 5.0  # seconds; how often the status is looked at if no watchdog asks for more


class Supervisor:
    """Who started this process `pid` and wants to hear of it. The variables that say so are taken
    out of `environ`: they are for nobody else."""

    def __init__(self, clock: IReactorTime, environ: MutableMapping[str, str], pid: int) -> None:
        self._clock = clock
        self._socket = _connected(environ.pop("NOTIFY_SOCKET", ""))
        microseconds = environ.pop("WATCHDOG_USEC", "")
        is_ours = environ.pop("WATCHDOG_PID", str(pid)) == str(pid)
        patience = int(microseconds) / 1e6 if is_ours and microseconds.isdecimal() else 0.0
        self._watchdog = ["WATCHDOG=1"] if patience else []
        self._period = min(PERIOD, patience / 2) if patience else PERIOD
        self._timer: IDelayedCall | None = None
        self._said = ""

    def started(self, health: Callable[[], Health]) -> None:
        """Say that the node is up, and from now on how it is."""
        self._tell("READY=1")
        if self._socket is not None:
            self._look(health)

    def reloading(self) -> None:
        self._tell("RELOADING=1", f"MONOTONIC_USEC={int(self._clock.seconds() * 1e6)}")

    def reloaded(self) -> None:
        self._tell("READY=1")

    def stopping(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._tell("STOPPING=1", "STATUS=leaving the mesh")

    def failed(self, why: str) -> None:
        self._tell(f"STATUS={why}")

    def _look(self, health: Callable[[], Health]) -> None:
        self._timer = self._clock.callLater(self._period, self._look, health)
        said, self._said = self._said, f"STATUS={_summary(health())}"
        lines = self._watchdog + ([self._said] if self._said != said else [])
        if lines:
            self._tell(*lines)

    def _tell(self, *lines: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send("\n".join(lines).encode())


def _connected(address: str) -> socket.socket | None:
    """To a supervisor, if there is one who can be reached."""
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
    """Why it is not ready, else what makes it so."""
    wrong = [check.reason for check in health.ready if not check.ok]
    member = [check.reason for check in health.ready if check.name == "membership"]
    return "; ".join(wrong or member)

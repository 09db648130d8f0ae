"""The node's side of the helper: requests as Deferreds, on the reactor."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from tunmesh.addresses import Interface
from tunmesh.assigner import wire
from tunmesh.assigner.wire import Request
from tunmesh.errors import OperatorError

PATIENCE = 30.0  # seconds; an answer takes a millisecond, or some seconds on a machine that is busy
_GONE = "the helper process for the device is gone"


@implementer(IReadDescriptor)
class HelpedAssigner:
    """Changes the device through the helper at the other end of `helper`, a socket of
    assigner.start. `lost(why)` is called, once, when the helper is gone: it cannot be started
    again, since the node has given up what that would need."""

    def __init__(self, reactor: Any, helper: socket.socket, lost: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._helper = helper
        self._lost = lost
        self._waiting: deque[tuple[str, Deferred[None]]] = deque()  # answers come in turn
        reactor.addReader(self)

    def put(self, interface: Interface) -> Deferred[None]:
        """The device has this address, and packets reach it, when the Deferred fires."""
        return self._ask(Request(wire.PUT, interface), f"put {interface} on the device")

    def take_off(self, interface: Interface) -> Deferred[None]:
        """The device has this address no longer when the Deferred fires."""
        return self._ask(Request(wire.TAKE_OFF, interface), f"take {interface} off the device")

    def set_link(self, mtu: int, queue: int) -> Deferred[None]:
        """The device has this MTU and txqueuelen (0: as it is) when the Deferred fires."""
        words = f"give the device an MTU of {mtu}"
        words += f" and a txqueuelen of {queue}" if queue else ""
        return self._ask(Request(wire.LINK, None, mtu, queue), words)

    def restore(self) -> Deferred[None]:
        """The device is up, with all its addresses and routes, when the Deferred fires."""
        return self._ask(Request(wire.RESTORE), "put back what was taken from the device")

    def stop(self) -> None:
        """Let the helper end. May be called twice; requests that wait are never answered."""
        self._lost = lambda why: None
        self._close()
        self._waiting.clear()

    def _ask(self, asked: Request, words: str) -> Deferred[None]:
        answered: Deferred[None] = Deferred()
        try:
            self._helper.send(asked.encode())
        except OSError:  # it is gone, or hundreds of requests wait: nobody can go on from there
            answered.errback(OperatorError(f"cannot {words}: {_GONE}"))
            return answered
        self._waiting.append((words, answered))

        def give_up(*_: object) -> None:
            raise OperatorError(f"cannot {words}: the helper process does not answer")

        return answered.addTimeout(PATIENCE, self._reactor, give_up)

    # --- IReadDescriptor ---

    def fileno(self) -> int:
        return self._helper.fileno()

    def doRead(self) -> None:
        try:
            said = self._helper.recv(wire.MAX_ANSWER)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said or not self._waiting:
            self._is_gone()
            return
        words, answered = self._waiting.popleft()
        code, why = wire.read_answer(said)
        if code:
            reason = why or os.strerror(code)
            answered.errback(OperatorError(f"cannot {words}: {reason}"))
        else:
            answered.callback(None)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends, or doRead has raised."""
        self._is_gone()

    def logPrefix(self) -> str:
        return "assigner"

    def _is_gone(self) -> None:
        lost, self._lost = self._lost, lambda why: None
        self._close()
        waiting, self._waiting = self._waiting, deque()
        for words, answered in waiting:
            answered.errback(OperatorError(f"cannot {words}: {_GONE}"))
        lost(_GONE)

    def _close(self) -> None:
        self._reactor.removeReader(self)
        self._helper.close()

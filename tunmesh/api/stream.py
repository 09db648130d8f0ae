"""Answers that go on until the client hangs up, and how many of them there may be."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

from tunmesh.api.http import answer_json
from tunmesh.timers import Timer


@implementer(IPushProducer)
class Stream:
    """An answer that goes on until the client hangs up. If there is a `beat`, it is sent whenever
    `interval` seconds have passed, as a sign of life. A client that reads too slowly misses data:
    `write` says so."""

    def __init__(
        self,
        request: Request,
        clock: IReactorTime,
        interval: float = 0.0,
        beat: Callable[[], bytes] | None = None,
    ) -> None:
        self._request = request
        self._interval = interval
        self._beat = beat
        self._is_open = True
        self._is_paused = False
        self._timer = Timer(clock)

    def open(self, first: bytes, closed: Callable[[], None]) -> None:
        """Begin with this, which sends the head too. `closed` is called at the end."""
        self._closed = closed
        self._request.notifyFinish().addBoth(lambda _: self.stopProducing())
        self._request.registerProducer(self, True)
        self.write(first)
        if self._beat is not None:
            self._send_beat()

    def write(self, data: bytes) -> bool:
        """Send this, unless the client is too slow. Whether it was sent."""
        is_ready = self._is_open and not self._is_paused
        if is_ready:
            self._request.write(data)
        return is_ready

    def _send_beat(self) -> None:
        self._timer.start(self._interval, self._send_beat)
        if self._beat is not None and not self._is_paused:
            self.write(self._beat())

    def pauseProducing(self) -> None:
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False

    def stopProducing(self) -> None:
        if self._is_open:
            self._is_open = False
            self._closed()
        self._timer.stop()


class StreamLimit:
    """How many streams of a site may be open at a time. Each holds a descriptor and a buffer for as
    long as its client likes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = 0

    def admit(self, request: Request) -> bool:
        """Count this stream until it ends; False if as many as allowed are open."""
        if self._open >= self._most:
            return False
        self._open += 1
        request.notifyFinish().addBoth(self._ended)
        return True

    def refusal(self, request: Request) -> bytes:
        """The answer to a request that was not admitted."""
        request.setResponseCode(503)
        return answer_json(request, {"error": f"{self._most} streams are open already"})

    def _ended(self, _result: object) -> None:
        self._open -= 1

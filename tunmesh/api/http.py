"""What every web site of a node has in common: it is quiet, bounded and says nothing of itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from zope.interface import implementer

from tunmesh.packets.flow import PROTOCOLS, Filter
from tunmesh.status import Check, Health

TIMEOUT = 15.0  # seconds that a client may be idle


class _QuietRequest(Request):
    """Does not say which software answers, and keeps nothing of what is sent behind the head of a
    request: no page wants a body, and Twisted would put a long one on disk. It is the last of its
    connection: thousands could be written one behind the other, and would all be answered before
    anybody else has his turn."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Twisted remarks on each HEAD, and by its class it would be our remark: anybody could fill
        # our log.
        self._log = Logger(namespace="twisted.web.server")

    def gotLength(self, length: int | None) -> None:
        super().gotLength(0)
        self.channel.persistent = False
        self.setHeader(b"connection", b"close")

    def handleContentChunk(self, data: bytes) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.responseHeaders.removeHeader(b"server")
        super().write(data)


def quiet_site(root: Resource, reactor: object) -> Site:
    """A site with these pages: no access log (probes come every few seconds: a line for each would
    bury everything else), no traceback for those who ask."""
    site = Site(root, requestFactory=_QuietRequest, reactor=reactor, timeout=TIMEOUT)
    site.noisy = False
    site.displayTracebacks = False
    site.log = _no_access_log  # type: ignore[assignment]
    return site


def _no_access_log(_request: HttpRequest) -> None:
    pass


@implementer(IPushProducer)
class Stream:
    """An answer that goes on until the client hangs up; with a sign of life (`beat`) whenever
    `interval` seconds have passed, if there is one. What a client is too slow to read he misses:
    `write` says so."""

    def __init__(
        self,
        request: Request,
        clock: IReactorTime,
        interval: float = 0.0,
        beat: Callable[[], bytes] | None = None,
    ) -> None:
        self._request = request
        self._clock = clock
        self._interval = interval
        self._beat = beat
        self._is_open = True
        self._is_paused = False
        self._timer: IDelayedCall | None = None

    def open(self, first: bytes, closed: Callable[[], None]) -> None:
        """Begin, with something, so that the head goes out; `closed` is called at the end."""
        self._closed = closed
        self._request.notifyFinish().addBoth(lambda _: self.stopProducing())
        self._request.registerProducer(self, True)
        self.write(first)
        if self._beat is not None:
            self._live(self._beat)

    def write(self, data: bytes) -> bool:
        """Whether it is on its way."""
        goes = self._is_open and not self._is_paused
        if goes:
            self._request.write(data)
        return goes

    def _live(self, beat: Callable[[], bytes]) -> None:
        self._timer = self._clock.callLater(self._interval, self._live, beat)
        if not self._is_paused:
            self.write(beat())

    def pauseProducing(self) -> None:
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False

    def stopProducing(self) -> None:
        if self._is_open:
            self._is_open = False
            self._closed()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class StreamLimit:
    """How many answers of a site may go on at a time. Each holds a descriptor and a buffer for as
    long as its client likes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = 0

    def admit(self, request: Request) -> bool:
        """Count this answer until it ends; False when there are as many as may be."""
        if self._open >= self._most:
            return False
        self._open += 1
        request.notifyFinish().addBoth(self._ended)
        return True

    def refusal(self, request: Request) -> bytes:
        """The answer to one that is not admitted."""
        request.setResponseCode(503)
        return answer_json(request, {"error": f"{self._most} streams are open already"})

    def _ended(self, _result: object) -> None:
        self._open -= 1


class Page(Resource):
    """A page to be read, and nothing below it. What is wrong is answered with the status code and a
    word: the pages of Twisted for that would say which software this is."""

    def render(self, request: Request) -> bytes | int:
        if request.method in (b"GET", b"HEAD"):
            answer: bytes | int = super().render(request)
            return answer
        request.setHeader(b"allow", b"GET, HEAD")
        return self._refuse(request, HTTPStatus.METHOD_NOT_ALLOWED)

    def render_GET(self, request: Request) -> bytes:
        return self._refuse(request, HTTPStatus.NOT_FOUND)

    def getChild(self, path: bytes, request: Request) -> Resource:
        return Page()

    def _refuse(self, request: Request, status: HTTPStatus) -> bytes:
        request.setResponseCode(status, status.phrase.encode())
        return answer_json(request, {"status": status.phrase.lower()})


class _HealthPage(Page):
    """Answers 200 or 503 by the checks that `checks()` gives now; with these only if it `explains`
    itself."""

    def __init__(self, checks: Callable[[], Sequence[Check]], explains: bool) -> None:
        super().__init__()
        self._checks = checks
        self._explains = explains

    def render_GET(self, request: Request) -> bytes:
        checks = self._checks()
        ok = all(check.ok for check in checks)
        request.setResponseCode(200 if ok else 503)
        body: dict[str, object] = {"status": "ok" if ok else "unavailable"}
        if self._explains:
            reasons = {check.name: {"ok": check.ok, "reason": check.reason} for check in checks}
            body["checks"] = reasons
        return answer_json(request, body)


def put_health(root: Resource, health: Callable[[], Health], explains: bool) -> None:
    """The pages that say how the node is: by the status code and one word to strangers, and with
    every check and its reason (`explains`) to those who run it."""
    root.putChild(b"livez", _HealthPage(lambda: health().live, explains))
    root.putChild(b"readyz", _HealthPage(lambda: health().ready, explains))
    root.putChild(b"health", _HealthPage(lambda: health().ready, explains))


def text_of(request: Request, name: bytes, default: str = "") -> str:
    """A query argument."""
    (value, *_) = request.args.get(name, [default.encode()])
    text: str = value.decode(errors="replace")
    return text


def number_of(request: Request, name: bytes, default: float) -> float:
    """A query argument. Raises ValueError unless it is a number, 0 or more."""
    text = text_of(request, name)
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 2**53:
        raise ValueError(f"{name.decode()} must be a number, 0 or more")
    return number


def filter_of(request: Request) -> Filter:
    """Which packets are wanted, by the query. Raises ValueError."""
    host, protocol = text_of(request, b"host"), text_of(request, b"protocol")
    port = int(number_of(request, b"port", -1.0))
    if protocol and protocol not in PROTOCOLS.values():
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS.values())}")
    return Filter(ip_address(host) if host else None, protocol or None, port if port >= 0 else None)


def refuse(request: Request, why: str) -> bytes:
    """The answer to a question that is wrong."""
    request.setResponseCode(400)
    return answer_json(request, {"error": why})


def answer_json(request: Request, tree: object) -> bytes:
    """The tree as the body of an answer that nobody is to keep."""
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"cache-control", b"no-store")
    return json.dumps(tree, indent=2).encode() + b"\n"

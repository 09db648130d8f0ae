"""What all web sites of a node have in common: no access log, bounded requests, no server name."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any

from twisted.logger import Logger
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from tunmesh.addresses import Address
from tunmesh.packets.flow import PROTOCOLS, Filter
from tunmesh.status.health import Check, Health

TIMEOUT = 15.0  # seconds that a client may be idle


class _QuietRequest(Request):
    """Does not say which software answers, and ignores the body of a request: no page has a use for
    it, and Twisted would put a long one on disk. It is the only one of its connection: thousands
    could be sent one after the other, and would all be answered before any other client."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Twisted logs each HEAD request in the name of this class: anybody could fill our log.
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
    """A site with these pages. It has no access log (probes come every few seconds, and a line for
    each would bury everything else) and shows no traceback."""
    site = Site(root, requestFactory=_QuietRequest, reactor=reactor, timeout=TIMEOUT)
    site.noisy = False
    site.displayTracebacks = False
    site.log = _no_access_log  # type: ignore[assignment]
    return site


def _no_access_log(_request: HttpRequest) -> None:
    pass


class Page(Resource):
    """A page to be read, with nothing below it. Errors are answered with the status code and a
    word: Twisted's error pages would say which software this is."""

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
    """Answers 200 or 503 by the result of `checks()`, and lists the checks if it `explains`."""

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


def put_health_pages(root: Resource, health: Callable[[], Health], explains: bool) -> None:
    """The pages of the node's health: a status code and one word, or every check with its reason if
    they are only for those who run the node (`explains`)."""
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


def address_of(request: Request, name: bytes) -> Address:
    """A query argument. Raises ValueError unless it is an IP address."""
    text = text_of(request, name)
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError(f"{name.decode()} must be an IP address, not {text!r}") from None


def filter_of(request: Request) -> Filter:
    """The packets that a query asks for. Raises ValueError."""
    host, protocol = text_of(request, b"host"), text_of(request, b"protocol")
    port = int(number_of(request, b"port", -1.0))
    if protocol and protocol not in PROTOCOLS.values():
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS.values())}")
    end = address_of(request, b"host") if host else None
    return Filter(end, protocol or None, port if port >= 0 else None)


def refuse(request: Request, why: str) -> bytes:
    """The answer to a request that is wrong."""
    request.setResponseCode(400)
    return answer_json(request, {"error": why})


def answer_json(request: Request, value: object) -> bytes:
    """JSON as the body of an answer that is not to be cached."""
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"cache-control", b"no-store")
    return json.dumps(value, indent=2).encode() + b"\n"

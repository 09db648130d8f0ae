"""The live page: what a person looks at in a browser, on loopback and for reading only.

    GET  /               the mesh as a page; without JavaScript, a table that reloads itself
    GET  /v1/…           see api.read_only
    GET  /v1/stream      server-sent events: `hello` (the node, and the time series of its peers),
                         `log` (past events first), and `status` every two seconds

There is no password, so all depends on who can connect. The page is bound to 127.0.0.1 and ::1, and
refuses what a page from elsewhere could make a browser on the same machine do:

    a Host that is not localhost (DNS rebinding)             421
    an Origin or Sec-Fetch-Site that is not ours             403, except for a link to /
    anything that is not GET or HEAD                         405

The headers below make the browser load nothing from elsewhere, run no script but the files beside
this one, and show the page in no frame. The port in Host is ignored: a forwarded port may differ,
and DNS rebinding needs a name. Names that peers have chosen are escaped in the HTML, and only ever
set as text by the scripts.
"""

from __future__ import annotations

import errno
import json
import re
from functools import partial
from http import HTTPStatus
from pathlib import Path
from string import Template
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tunmesh.api import read_only
from tunmesh.api.http import answer_json, quiet_site
from tunmesh.api.page.view import document
from tunmesh.api.stream import StreamLimit
from tunmesh.errors import OperatorError
from tunmesh.observe.samples import INTERVAL, series_tree

LOOPBACK = ("127.0.0.1", "::1")
MOST_STREAMS = 16  # open pages and stream events together: each costs some work
CROWD = 40  # nodes; with more, links between other nodes are not drawn
_PAST = 200  # events from before a page was opened that it shows
_SAFE_METHODS = (b"GET", b"HEAD")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_HERE = Path(__file__).parent
_TYPES = {".css": b"text/css", ".js": b"text/javascript", ".svg": b"image/svg+xml"}
_OUR_HOST = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)


class _Root(Resource):
    """Refuses requests that are not allowed, and gives every answer its headers."""

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        for name, value in HEADERS.items():
            request.setHeader(name, value)
        code, why = refusal(request)
        if code:
            return _Refusal(code, why)
        child: IResource = super().getChildWithDefault(path, request)
        return child


def refusal(request: Request) -> tuple[int, str]:
    """The status code for a request that is refused and why it is; 0 if it is not."""
    headers = request.requestHeaders
    hosts = headers.getRawHeaders(b"host", [])
    if len(hosts) != 1 or not _OUR_HOST.fullmatch(hosts[0]):
        return 421, "this page is at localhost, 127.0.0.1 and [::1] only"
    if request.method not in _SAFE_METHODS:
        return 405, "there is nothing here but to read"
    origins = headers.getRawHeaders(b"origin", [])
    sites = headers.getRawHeaders(b"sec-fetch-site", [])
    is_ours = set(sites) <= {b"same-origin", b"none"} and set(origins) <= {b"http://" + hosts[0]}
    if not is_ours and request.path != b"/":
        return 403, "pages from elsewhere may not ask"
    return 0, ""


class _Refusal(Resource):
    isLeaf = True

    def __init__(self, code: int, why: str) -> None:
        super().__init__()
        self._code, self._why = code, why

    def render(self, request: Request) -> bytes:
        request.setResponseCode(self._code, HTTPStatus(self._code).phrase.encode())
        if self._code == 405:
            request.setHeader(b"allow", b", ".join(_SAFE_METHODS))
        return answer_json(request, {"error": self._why})


class _Page(Resource):
    """The page as it is now, which is all there is without JavaScript."""

    isLeaf = True

    def __init__(self, reports: read_only.Reports) -> None:
        super().__init__()
        self._reports = reports
        self._template = Template((_HERE / "page.html").read_text(encoding="utf-8"))

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        events = self._reports.events.since(0)
        return document(self._template, self._reports.report(), events).encode()


class _File(Resource):
    isLeaf = True

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._content = path.read_bytes()
        self._type = _TYPES[path.suffix] + b"; charset=utf-8"

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"content-type", self._type)
        return self._content


class _EventsPage(Resource):
    """Server-sent events, from which the page is kept up to date."""

    isLeaf = True

    def __init__(self, reports: read_only.Reports, reactor: Any, streams: StreamLimit) -> None:
        super().__init__()
        self._reports = reports
        self._reactor = reactor
        self._streams = streams

    def render_GET(self, request: Request) -> bytes | int:
        is_stream = request.method != b"HEAD"
        if is_stream and not self._streams.admit(request):
            return self._streams.refusal(request)
        request.setHeader(b"content-type", b"text/event-stream")
        if not is_stream:
            return b""
        events, form = self._reports.events, partial(_sent, "log")
        stream = read_only.EventStream(request, self._reactor, INTERVAL, self._now, events, form)
        stream.begin(self._past())
        return NOT_DONE_YET

    def _past(self) -> bytes:
        status = self._reports.status()
        ids = [peer.record.id for peer in status.peers]
        history = self._reports.history
        series = {node_id: series_tree(history.of(node_id)) for node_id in ids}
        hello = _sent("hello", {"id": status.record.id, "series": series})
        return hello + b"".join(_sent("log", e) for e in self._reports.events.since(0)[-_PAST:])

    def _now(self) -> bytes:
        return _sent(
            "status", {"report": self._reports.report(), "mesh": self._reports.mesh(CROWD)}
        )


def _sent(kind: str, tree: object) -> bytes:
    """An event of a stream. JSON has no line ends, so it is one line of data."""
    return f"event: {kind}\ndata: {json.dumps(tree)}\n\n".encode()


def site(reports: read_only.Reports, reactor: Any) -> Site:
    """The page and what it needs."""
    streams = StreamLimit(MOST_STREAMS)
    root, first = _Root(), read_only.pages(reports, reactor, streams)
    root.putChild(b"", _Page(reports))
    root.putChild(b"v1", first)
    first.putChild(b"stream", _EventsPage(reports, reactor, streams))
    for path in _HERE.iterdir():
        if path.suffix in _TYPES:
            root.putChild(path.name.encode(), _File(path))
    return quiet_site(root, reactor)


def listen(reactor: Any, port: int, factory: IProtocolFactory) -> list[IListeningPort]:
    """Listen on this port of every loopback address that this machine has. Raises OperatorError if
    one of them is in use: the browser could connect to that."""
    ports: list[IListeningPort] = []
    for address in LOOPBACK:
        try:
            ports.append(reactor.listenTCP(port, factory, interface=address))
        except CannotListenError as error:
            if ports and error.socketError.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue  # a machine without IPv6
            for bound in ports:
                bound.stopListening()
            why = error.socketError.strerror
            raise OperatorError(
                f"admin/http_port: cannot listen at {address}:{port}: {why}"
            ) from None
    return ports

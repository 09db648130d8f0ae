"""What every web site of a node has in common: it is quiet, bounded and says nothing of itself."""

from __future__ import annotations

import json

from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

TIMEOUT = 15.0  # seconds that a client may be idle


class _QuietRequest(Request):
    """Does not say which software answers, and keeps nothing of what is sent behind the head of a
    request: no page wants a body, and Twisted would put a long one on disk. It is the last of its
    connection: thousands could be written one behind the other, and would all be answered before
    anybody else has his turn."""

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


def answer_json(request: Request, tree: object) -> bytes:
    """The tree as the body of an answer that nobody is to keep."""
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"cache-control", b"no-store")
    return json.dumps(tree, indent=2).encode() + b"\n"

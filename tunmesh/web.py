"""HTTPS on the mesh's port: health for orchestrators, metrics for Prometheus, nothing else.

    /livez    200 while restarting would not help      GET and HEAD only
    /readyz   200 while others can count on this node; /health is the same
    /metrics  Prometheus text, if it is switched on

Health answers are JSON with every check and its reason. Who is in the mesh is not told here: the
port is open to strangers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from tunmesh.status import Check, Status

TIMEOUT = 15.0  # seconds that a client may be idle
TEXT = b"text/plain; version=0.0.4; charset=utf-8"  # Prometheus' exposition format


class HealthPage(Resource):
    """Answers 200 or 503 by the checks that `checks()` gives now."""

    def __init__(self, checks: Callable[[], Sequence[Check]]) -> None:
        super().__init__()
        self._checks = checks

    def render_GET(self, request: Request) -> bytes:
        checks = self._checks()
        ok = all(check.ok for check in checks)
        request.setResponseCode(200 if ok else 503)
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"cache-control", b"no-store")
        body = {
            "status": "ok" if ok else "unavailable",
            "checks": {check.name: {"ok": check.ok, "reason": check.reason} for check in checks},
        }
        return json.dumps(body, indent=2).encode() + b"\n"


class MetricsPage(Resource):
    """What `expose()` gives, as Prometheus reads it."""

    def __init__(self, expose: Callable[[], bytes]) -> None:
        super().__init__()
        self._expose = expose

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"content-type", TEXT)
        return self._expose()


class _QuietRequest(Request):
    """Does not say which software answers, and keeps nothing of what strangers send behind the
    head of a request: no page here wants a body, and Twisted would put a long one on disk."""

    def gotLength(self, length: int | None) -> None:
        super().gotLength(0)

    def handleContentChunk(self, data: bytes) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.responseHeaders.removeHeader(b"server")
        super().write(data)


def site(status: Callable[[], Status], expose: Callable[[], bytes] | None, reactor: object) -> Site:
    """The pages. Without `expose` there are no metrics."""
    root = Resource()
    root.putChild(b"livez", HealthPage(lambda: status().live))
    root.putChild(b"readyz", HealthPage(lambda: status().ready))
    root.putChild(b"health", HealthPage(lambda: status().ready))
    if expose is not None:
        root.putChild(b"metrics", MetricsPage(expose))
    site = Site(root, requestFactory=_QuietRequest, reactor=reactor, timeout=TIMEOUT)
    site.noisy = False
    site.displayTracebacks = False
    site.log = _no_access_log  # type: ignore[assignment]
    return site


def _no_access_log(_request: HttpRequest) -> None:
    """Probes come every few seconds: a line for each would bury everything else."""

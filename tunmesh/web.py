"""HTTPS on the mesh's port: health for orchestrators, metrics for Prometheus, nothing else.

    /livez    200 while restarting would not help      GET and HEAD only
    /readyz   200 while others can count on this node; /health is the same
    /metrics  Prometheus text, if it is switched on

Health answers are JSON with every check and its reason. Who is in the mesh is not told here: the
port is open to strangers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from tunmesh.sites import answer_json, quiet_site
from tunmesh.status import Check, Status

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
        body = {
            "status": "ok" if ok else "unavailable",
            "checks": {check.name: {"ok": check.ok, "reason": check.reason} for check in checks},
        }
        return answer_json(request, body)


class MetricsPage(Resource):
    """What `expose()` gives, as Prometheus reads it."""

    def __init__(self, expose: Callable[[], bytes]) -> None:
        super().__init__()
        self._expose = expose

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"content-type", TEXT)
        return self._expose()


def site(status: Callable[[], Status], expose: Callable[[], bytes] | None, reactor: object) -> Site:
    """The pages. Without `expose` there are no metrics."""
    root = Resource()
    root.putChild(b"livez", HealthPage(lambda: status().live))
    root.putChild(b"readyz", HealthPage(lambda: status().ready))
    root.putChild(b"health", HealthPage(lambda: status().ready))
    if expose is not None:
        root.putChild(b"metrics", MetricsPage(expose))
    return quiet_site(root, reactor)

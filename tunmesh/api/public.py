"""Health for orchestrators and metrics for Prometheus: over HTTPS on the mesh's port, and at
`monitoring.listen`. Nothing else is served there.

    /livez    200 unless a restart would help          GET and HEAD only
    /readyz   200 while others can rely on this node; /health is the same
    /metrics  Prometheus text, if it is enabled

The port is open to strangers: they get a status code and one word, such as {"status": "ok"} or
{"status": "unavailable"}. The reasons are for those who run the node, at the control socket and at
`monitoring.listen`. Where that is set, metrics are there and not on the mesh's port.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.web.server import Request, Site

from tunmesh.api.http import Page, put_health_pages, quiet_site
from tunmesh.status.health import Health

_TEXT = b"text/plain; version=0.0.4; charset=utf-8"  # Prometheus' exposition format


class _MetricsPage(Page):
    """The result of `expose()`, which is in Prometheus' format."""

    def __init__(self, expose: Callable[[], bytes]) -> None:
        super().__init__()
        self._expose = expose

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"content-type", _TEXT)
        return self._expose()


def site(
    health: Callable[[], Health],
    expose: Callable[[], bytes] | None,
    reactor: object,
    explains: bool = False,
) -> Site:
    """The pages for everybody; with each check and its reason (`explains`), for those who run the
    node. Without `expose` there are no metrics."""
    root = Page()
    put_health_pages(root, health, explains)
    if expose is not None:
        root.putChild(b"metrics", _MetricsPage(expose))
    return quiet_site(root, reactor)

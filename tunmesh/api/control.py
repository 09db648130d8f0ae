"""The pages of the control socket: what those who run a node may ask it and tell it.

    GET  /v1/status, mesh, events   see api.read_only
    POST /v1/ping?node=ID        the round trip on the link with that node
    GET  /v1/explain?source=A&destination=B
                                 the path of such a packet, and the last drops like it; only those
                                 of &protocol= and &port= if these are given
    GET  /v1/resolve?name=NAME   what a name or an address leads to, and why
    GET  /v1/capture             packets as they pass, as pcapng, until the client hangs up; of one
                                 &peer=NAME or ID, &host=, &protocol=, &port=
    POST /v1/claim, release      see api.floating
    POST /v1/drain               leave the mesh, and exit
    GET  /livez, /readyz, /health
                                 as on the mesh's port, with every check and its reason

The socket belongs to the user that started the node, and nobody else can open it (mode 0600): there
is no other authentication.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tunmesh.api import floating, read_only
from tunmesh.api.capture import CapturePage
from tunmesh.api.http import (
    address_of,
    answer_json,
    filter_of,
    put_health_pages,
    quiet_site,
    refuse,
    text_of,
)
from tunmesh.api.stream import StreamLimit
from tunmesh.dataplane.forwarder import Tap
from tunmesh.names.labels import MAX_TEXT
from tunmesh.names.resolution import Resolution
from tunmesh.observe import status_json
from tunmesh.observe.explain import Explainer
from tunmesh.packets.flow import flow_of
from tunmesh.status.health import Health
from tunmesh.status.node import Status
from tunmesh.status.peers import KnownNode
from tunmesh.status.traffic import Dropped

MOST_STREAMS = 64  # followed events and captures together: each holds a descriptor


class Node(Protocol):
    """The node that the pages are about; node.node.Node is one."""

    def health(self) -> Health: ...
    def status(self) -> Status: ...
    def known_nodes(self, crowd: float) -> tuple[KnownNode, ...]: ...
    def explainer(self) -> Explainer: ...
    def resolve(self, name: str) -> Resolution: ...
    def ping(self, node_id: str) -> Deferred[float | None]: ...
    @property
    def floating(self) -> floating.Floating: ...
    @property
    def drops(self) -> Sequence[Dropped]: ...
    @property
    def taps(self) -> set[Tap]: ...


class _Ping(Resource):
    """The round trip on the link with one node."""

    isLeaf = True

    def __init__(self, ping: Callable[[str], Deferred[float | None]]) -> None:
        super().__init__()
        self._ping = ping

    def render_POST(self, request: Request) -> bytes | int:
        node_id = text_of(request, b"node")
        try:
            answer = self._ping(node_id)
        except KeyError:
            return refuse(request, f"no node with the id {node_id!r} is linked")
        answer.addCallback(lambda rtt: self._answer(request, rtt))
        return NOT_DONE_YET

    def _answer(self, request: Request, rtt: float | None) -> None:
        if request.channel is not None:  # None once the connection is lost
            request.write(answer_json(request, {"rtt": rtt}))
            request.finish()


class _Explain(Resource):
    """The path of one packet, and the last drops like it."""

    isLeaf = True

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._node = node

    def render_GET(self, request: Request) -> bytes:
        try:
            source, destination = (
                address_of(request, name) for name in (b"source", b"destination")
            )
            wanted = filter_of(request)
        except ValueError as error:
            return refuse(request, str(error))
        explainer = self._node.explainer()
        steps = explainer.explain(source, destination)
        ends = {source, destination}
        return answer_json(
            request,
            {
                "version": status_json.VERSION,
                "carried": all(step.ok for step in steps),
                "steps": [{"ok": step.ok, "text": step.text} for step in steps],
                "drops": [
                    {
                        "ago": round(explainer.now - drop.seconds, 3),
                        "reason": drop.reason,
                        "sender": drop.sender,
                        "packet": str(flow),
                    }
                    for drop in self._node.drops
                    if (flow := flow_of(drop.start)) is not None
                    and {flow.source, flow.destination} == ends
                    and wanted.matches(flow)
                ],
            },
        )


class _Resolve(Resource):
    """What a name leads to."""

    isLeaf = True

    def __init__(self, resolve: Callable[[str], Resolution]) -> None:
        super().__init__()
        self._resolve = resolve

    def render_GET(self, request: Request) -> bytes:
        name = text_of(request, b"name")
        if not 1 <= len(name) <= MAX_TEXT:
            return refuse(request, f"name must be a name of 1 to {MAX_TEXT} characters")
        found = self._resolve(name)
        return answer_json(
            request,
            {
                "version": status_json.VERSION,
                "name": found.name,
                "outcome": found.outcome,
                "found": [{"address": address, "node": node} for address, node in found.found],
                "why": list(found.why),
            },
        )


class _Drain(Resource):
    isLeaf = True

    def __init__(self, drain: Callable[[], None]) -> None:
        super().__init__()
        self._drain = drain

    def render_POST(self, request: Request) -> bytes:
        request.notifyFinish().addBoth(lambda _: self._drain())
        return answer_json(request, {"leaving": True})


def site(
    node: Node,
    drain: Callable[[], None],
    reports: read_only.Reports,
    reactor: Any,
) -> Site:
    """The pages of the control socket."""
    streams = StreamLimit(MOST_STREAMS)
    root, first = Resource(), read_only.pages(reports, reactor, streams)
    root.putChild(b"v1", first)
    put_health_pages(root, node.health, explains=True)
    first.putChild(b"ping", _Ping(node.ping))
    first.putChild(b"explain", _Explain(node))
    first.putChild(b"resolve", _Resolve(node.resolve))
    first.putChild(b"capture", CapturePage(node.taps, reports.epoch, reactor, streams))
    floating.put_pages(first, node.floating)
    first.putChild(b"drain", _Drain(drain))
    return quiet_site(root, reactor)

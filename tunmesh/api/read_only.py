"""The pages that only read the node: at the Unix socket, and beside the live page.

GET  /v1/status              everything about this node and its peers (observe.status_json)
GET  /v1/mesh                every node that it knows of, and which are linked
GET  /v1/events?since=N      what happened, oldest first: one line of JSON for each event;
                             &follow=SECONDS goes on for ever, with an empty line as a sign of
                             life whenever so many seconds have passed. That is a stream, of
                             which a site has a limited number
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from tunmesh.api.http import answer_json, number_of, refuse
from tunmesh.api.stream import Stream, StreamLimit
from tunmesh.observe import status_json
from tunmesh.observe.samples import INTERVAL, History
from tunmesh.observe.status_json import Json
from tunmesh.status.node import Status
from tunmesh.status.peers import KnownNode
from tunmesh.status.traffic import Sample
from tunmesh.timers import Timer

Event = Mapping[str, object]


class Events(Protocol):
    """Past events, and listeners for the next ones; logs.observers.RecentEvents is one."""

    listeners: set[Callable[[Event], None]]

    def since(self, sequence: int) -> list[Event]: ...


@dataclass(frozen=True, slots=True)
class Reports:
    """All that there is to read of a node."""

    status: Callable[[], Status]
    # Its argument: with more nodes than that, links between other nodes are left out.
    known_nodes: Callable[[float], tuple[KnownNode, ...]]
    events: Events
    history: History
    epoch: Callable[[], float]

    def report(self) -> Json:
        return status_json.report(self.status(), self.history, self.epoch())

    def mesh(self, crowd: float = inf) -> Json:
        return status_json.mesh(self.status(), self.known_nodes(crowd))


class Sampler:
    """Feeds a History as long as the node runs."""

    def __init__(self, clock: IReactorTime, sample: Callable[[], Sample]) -> None:
        self.history = History()
        self._sample = sample
        self._timer = Timer(clock)

    def start(self) -> None:
        self._timer.start(INTERVAL, self.start)
        self.history.sample(self._sample())

    def stop(self) -> None:
        self._timer.stop()


class _JsonPage(Resource):
    """Answers with the result of a callable, as JSON."""

    isLeaf = True

    def __init__(self, value: Callable[[], object]) -> None:
        super().__init__()
        self._value = value

    def render_GET(self, request: Request) -> bytes:
        return answer_json(request, self._value())


class _EventsPage(Resource):
    isLeaf = True

    def __init__(self, events: Events, clock: IReactorTime, streams: StreamLimit) -> None:
        super().__init__()
        self._events = events
        self._clock = clock
        self._streams = streams

    def render_GET(self, request: Request) -> bytes | int:
        try:
            since = number_of(request, b"since", 0.0)
            follow = number_of(request, b"follow", 0.0)
        except ValueError as error:
            return refuse(request, str(error))
        is_stream = follow > 0 and request.method != b"HEAD"
        if is_stream and not self._streams.admit(request):
            return self._streams.refusal(request)
        request.setHeader(b"content-type", b"application/x-ndjson")
        request.setHeader(b"cache-control", b"no-store")
        past = b"".join(map(_line, self._events.since(int(since))))
        if not is_stream:
            return past
        stream = EventStream(
            request, self._clock, max(follow, 0.1), lambda: b"\n", self._events, _line
        )
        stream.begin(past or b"\n")
        return NOT_DONE_YET


class EventStream(Stream):
    """Sends events as they happen, each in this `form`."""

    def __init__(
        self,
        request: Request,
        clock: IReactorTime,
        interval: float,
        beat: Callable[[], bytes],
        events: Events,
        form: Callable[[Event], bytes],
    ) -> None:
        super().__init__(request, clock, interval, beat)
        self._events = events
        self._form = form

    def begin(self, past: bytes) -> None:
        self._events.listeners.add(self._tell)
        self.open(past, lambda: self._events.listeners.discard(self._tell))

    def _tell(self, event: Event) -> None:
        self.write(self._form(event))


def _line(event: Event) -> bytes:
    return json.dumps(event).encode() + b"\n"


def pages(reports: Reports, reactor: Any, streams: StreamLimit) -> Resource:
    """The pages below /v1. `streams` counts those of the whole site."""
    first = Resource()
    first.putChild(b"status", _JsonPage(reports.report))
    first.putChild(b"mesh", _JsonPage(reports.mesh))
    first.putChild(b"events", _EventsPage(reports.events, reactor, streams))
    return first

"""What those who run a node may read of it over HTTP, at the Unix socket and beside the page.

    GET  /v1/status              everything about this node and its peers (observe.status_json)
    GET  /v1/mesh                every node that it knows of, and who is linked with whom
    GET  /v1/events?since=N      what happened, oldest first: JSON, one line for each event;
                                 &follow=SECONDS goes on for ever, with an empty line as a sign of
                                 life whenever so many seconds have passed. It counts as a stream:
                                 of these, a site has a bounded number at a time

Nothing here changes anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from tunmesh.api.http import Stream, StreamLimit, answer_json, number_of, refuse
from tunmesh.observe import status_json
from tunmesh.observe.samples import INTERVAL, History
from tunmesh.observe.status_json import Tree
from tunmesh.status import KnownNode, Sample, Status

Event = Mapping[str, object]


class Events(Protocol):
    """What has happened, and who wants to hear of what will; logs.observers.RecentEvents is one."""

    listeners: set[Callable[[Event], None]]

    def since(self, sequence: int) -> list[Event]: ...


@dataclass(frozen=True, slots=True)
class Account:
    """What there is to read of a node."""

    status: Callable[[], Status]
    # With more nodes than that, links between other nodes are left out.
    known_nodes: Callable[[float], tuple[KnownNode, ...]]
    events: Events
    history: History
    epoch: Callable[[], float]

    def report(self) -> Tree:
        return status_json.report(self.status(), self.history, self.epoch())

    def mesh(self, crowd: float = inf) -> Tree:
        return status_json.mesh(self.status(), self.known_nodes(crowd), crowd)


class Sampler:
    """Feeds a History as long as the node lives."""

    def __init__(self, clock: IReactorTime, sample: Callable[[], Sample]) -> None:
        self.history = History()
        self._clock = clock
        self._sample = sample
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        self._timer = self._clock.callLater(INTERVAL, self.start)
        self.history.sample(self._sample())

    def stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class _Tree(Resource):
    """Answers what a callable gives."""

    isLeaf = True

    def __init__(self, tree: Callable[[], object]) -> None:
        super().__init__()
        self._tree = tree

    def render_GET(self, request: Request) -> bytes:
        return answer_json(request, self._tree())


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
        followed = Followed(
            request, self._clock, max(follow, 0.1), lambda: b"\n", self._events, _line
        )
        followed.begin(past or b"\n")
        return NOT_DONE_YET


class Followed(Stream):
    """Events as they happen, each in this `form`."""

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


def pages(account: Account, reactor: Any, streams: StreamLimit) -> Resource:
    """What is below /v1. `streams`: those of the whole site."""
    first = Resource()
    first.putChild(b"status", _Tree(account.report))
    first.putChild(b"mesh", _Tree(account.mesh))
    first.putChild(b"events", _EventsPage(account.events, reactor, streams))
    return first

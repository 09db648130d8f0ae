"""What those who run a node may ask it and tell it: pages on a Unix socket, and nowhere else.

    GET  /v1/status              everything about this node and its peers (tunmesh.report)
    GET  /v1/mesh                every node that it knows of, and who is linked with whom
    GET  /v1/events?since=N      what happened, oldest first: JSON, one line for each event;
                                 &follow=SECONDS goes on for ever, with an empty line as a sign of
                                 life whenever so many seconds have passed
    POST /v1/drain               leave the mesh, and end

The socket belongs to whoever started the node and is open to nobody else (mode 0600): that is all
the authentication there is.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IPushProducer,
    IReactorTime,
)
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from tunmesh import report
from tunmesh.errors import OperatorError
from tunmesh.history import INTERVAL, History
from tunmesh.sites import answer_json, quiet_site
from tunmesh.status import Sight, Status

BACKLOG = 16
Event = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Node:
    """What the pages are about."""

    status: Callable[[], Status]
    sights: Callable[[], tuple[Sight, ...]]
    drain: Callable[[], None]


class Events(Protocol):
    """What has happened, and who wants to hear of what will; tunmesh.log.Recent is one."""

    listeners: set[Callable[[Event], None]]

    def since(self, sequence: int) -> list[Event]: ...


class Sampler:
    """Feeds a History as long as the node lives."""

    def __init__(self, clock: IReactorTime, status: Callable[[], Status]) -> None:
        self.history = History()
        self._clock = clock
        self._status = status
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        self._timer = self._clock.callLater(INTERVAL, self.start)
        self.history.sample(self._status())

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


class _Drain(Resource):
    isLeaf = True

    def __init__(self, drain: Callable[[], None]) -> None:
        super().__init__()
        self._drain = drain

    def render_POST(self, request: Request) -> bytes:
        request.notifyFinish().addBoth(lambda _: self._drain())
        return answer_json(request, {"leaving": True})


class _EventsPage(Resource):
    isLeaf = True

    def __init__(self, events: Events, clock: IReactorTime) -> None:
        super().__init__()
        self._events = events
        self._clock = clock

    def render_GET(self, request: Request) -> bytes | int:
        try:
            since = _number(request, b"since", 0.0)
            follow = _number(request, b"follow", 0.0)
        except ValueError as error:
            request.setResponseCode(400)
            return answer_json(request, {"error": str(error)})
        request.setHeader(b"content-type", b"application/x-ndjson")
        request.setHeader(b"cache-control", b"no-store")
        past = b"".join(map(_line, self._events.since(int(since))))
        if not follow:
            return past
        Follower(request, self._events.listeners, self._clock, max(follow, 0.1)).begin(past)
        return NOT_DONE_YET


@implementer(IPushProducer)
class Follower:
    """Writes events to somebody as they happen, until he goes. What he is too slow to read he
    misses: the sequence numbers tell him."""

    def __init__(
        self,
        request: Request,
        listeners: set[Callable[[Event], None]],
        clock: IReactorTime,
        interval: float,
    ) -> None:
        self._request = request
        self._listeners = listeners
        self._clock = clock
        self._interval = interval
        self._is_paused = False
        self._timer: IDelayedCall | None = None

    def begin(self, past: bytes) -> None:
        self._request.notifyFinish().addBoth(lambda _: self._end())
        self._request.registerProducer(self, True)
        self._listeners.add(self._tell)
        self._write(past or b"\n")  # the head goes out with it
        self._live()

    def _tell(self, event: Event) -> None:
        self._write(_line(event))

    def _live(self) -> None:
        self._timer = self._clock.callLater(self._interval, self._live)
        self._write(b"\n")

    def _write(self, data: bytes) -> None:
        if not self._is_paused:
            self._request.write(data)

    def _end(self) -> None:
        self._listeners.discard(self._tell)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def pauseProducing(self) -> None:
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False

    def stopProducing(self) -> None:
        self._end()


def _line(event: Event) -> bytes:
    return json.dumps(event).encode() + b"\n"


def _number(request: Request, name: bytes, default: float) -> float:
    """A query argument. Raises ValueError unless it is a number, 0 or more."""
    (text, *_) = request.args.get(name, [b""])
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 2**53:
        raise ValueError(f"{name.decode()} must be a number, 0 or more")
    return number


def site(
    node: Node, events: Events, history: History, epoch: Callable[[], float], reactor: Any
) -> Site:
    """The pages."""
    root, first = Resource(), Resource()
    root.putChild(b"v1", first)

    def status() -> report.Tree:
        return report.report(node.status(), history, epoch())

    first.putChild(b"status", _Tree(status))
    first.putChild(b"mesh", _Tree(lambda: report.mesh(node.status(), node.sights())))
    first.putChild(b"events", _EventsPage(events, reactor))
    first.putChild(b"drain", _Drain(node.drain))
    return quiet_site(root, reactor)


class _Port(unix.Port):
    """At the end it takes its socket away only if it still may: privileges are gone by then."""

    def __init__(self, path: Path, factory: Site, reactor: Any) -> None:
        super().__init__(os.fsencode(path), factory, BACKLOG, 0o600, reactor)
        self._path = path

    def connectionLost(self, reason: Any) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()
        tcp.Port.connectionLost(self, reason)


def listen(reactor: Any, path: Path, factory: Site) -> IListeningPort:
    """Answer at a Unix socket at `path`, for this user alone; its directory is made if need be.

    One that a node left behind is taken over. Raises OperatorError when it cannot be had.
    """
    port: IListeningPort = _Port(path, factory, reactor)
    mask = os.umask(0o177)  # there is no moment in which others could connect
    try:
        _clear(path)
        port.startListening()
    except CannotListenError as error:
        raise _unavailable(path, error.socketError) from None
    except OSError as error:
        raise _unavailable(path, error) from None
    finally:
        os.umask(mask)
    return port


def _unavailable(path: Path, error: OSError) -> OperatorError:
    return OperatorError(f"admin/socket: cannot listen at {path}: {error.strerror or error}")


def _clear(path: Path) -> None:
    """Make the directory, and remove a socket that nobody listens at. Raises OSError when there is
    something else."""
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o755, parents=True)
        path.parent.chmod(0o755)  # past the umask
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise OSError(errno.EEXIST, "there is something else that is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, "another node listens there")

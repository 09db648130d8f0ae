"""Test traffic between namespaces: bulk TCP and HTTP.

Every socket is created inside a namespace (`with namespace:`) and stays in it, while one reactor
serves all of them. So one process is both ends of every transfer, and one clock measures it.
"""
# mypy: disallow-untyped-calls=False
# (twisted.web is typed only in part)

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IReactorTCP,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, readBody
from twisted.web.iweb import IAgentEndpointFactory
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from zope.interface import implementer

from tunmesh.host.namespaces import Namespace

CONNECT_TIMEOUT = 20
HTTP_PORT = 8080


class TrafficReactor(IReactorTCP, IReactorTime):
    """The reactor interfaces that transfers need."""


@dataclass(frozen=True)
class Place:
    """One end of a transfer: a namespace and its IPv4 address there."""

    namespace: Namespace
    address: str


class TrafficError(Exception):
    """Traffic that arrived wrong or not at all; one line."""


@implementer(IStreamClientEndpoint)
class NamespaceEndpoint:
    """Connects by TCP from inside a namespace to an IPv4 address and port."""

    def __init__(
        self, reactor: TrafficReactor, namespace: Namespace, address: str, port: int
    ) -> None:
        self._namespace = namespace
        self._endpoint = TCP4ClientEndpoint(reactor, address, port, timeout=CONNECT_TIMEOUT)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        with self._namespace:
            return self._endpoint.connect(protocolFactory)


class _Source(Protocol):
    """Sends one large piece of data and hangs up."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self.started = 0.0

    def connectionMade(self) -> None:
        assert self.transport is not None  # noqa: S101
        self.started = time.monotonic()
        self.transport.write(self._payload)
        self.transport.loseConnection()

    def abort(self) -> None:
        """Close the connection, if there is one."""
        if self.transport is not None:
            cast(ITCPTransport, self.transport).abortConnection()


class _Sink(Protocol):
    """Collects everything; it is compared afterwards, so as not to slow the transfer down."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.last_arrival = 0.0
        self.done: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.chunks.append(data)
        self.last_arrival = time.monotonic()

    def connectionLost(self, reason: Failure | None = None) -> None:
        if not self.done.called:
            self.done.callback(None)


async def _listen(
    reactor: TrafficReactor, place: Place, port: int, factory: IProtocolFactory
) -> IListeningPort:
    with place.namespace:
        listening = TCP4ServerEndpoint(reactor, port, interface=place.address).listen(factory)
    try:
        listener: IListeningPort = await listening
    except CannotListenError as error:
        raise TrafficError(f"no TCP port at {place.address}: {error.socketError}") from None
    return listener


async def transfer(
    reactor: TrafficReactor, source: Place, target: Place, payload: bytes, patience: float
) -> float:
    """Send `payload` by TCP and compare what arrives byte for byte; the rate in bits per second.

    The time runs from the connection to the last byte's arrival; comparing is not included. Raises
    TrafficError after `patience` seconds, or when something else arrives.
    """
    sender, sink = _Source(payload), _Sink()
    port = await _listen(reactor, target, 0, Factory.forProtocol(lambda: sink))
    number = cast(IPv4Address, port.getHost()).port
    way = NamespaceEndpoint(reactor, source.namespace, target.address, number)
    try:
        await way.connect(Factory.forProtocol(lambda: sender))
        await sink.done.addTimeout(patience, reactor)
    except Exception as error:
        raise TrafficError(
            f"TCP from {source.address} to {target.address} failed: {_reason(error)}"
        ) from None
    finally:
        port.stopListening()
        sender.abort()
    received = b"".join(sink.chunks)
    if received != payload:
        raise TrafficError(
            f"TCP from {source.address} to {target.address}: {len(payload)} bytes were sent, "
            f"{len(received)} arrived, and they are not the same"
        )
    return len(payload) * 8 / (sink.last_arrival - sender.started)


class _Greeting(Resource):
    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        request.setHeader("content-type", "text/plain")
        here, there = request.getHost().host, request.getClientAddress().host
        return f"hello {there}, this is {here}".encode()


@implementer(IAgentEndpointFactory)
class _FromNamespace:
    def __init__(self, reactor: TrafficReactor, namespace: Namespace) -> None:
        self._reactor = reactor
        self._namespace = namespace

    def endpointForURI(self, uri: URI) -> NamespaceEndpoint:
        return NamespaceEndpoint(self._reactor, self._namespace, uri.host.decode(), uri.port)


@dataclass(frozen=True)
class Fetched:
    """An HTTP response and how many seconds it took."""

    url: str
    status: int
    text: str
    seconds: float


async def fetch(reactor: TrafficReactor, source: Place, target: Place, patience: float) -> Fetched:
    """Serve HTTP at `target` and get a page of it from `source`: a greeting with both addresses.

    Raises TrafficError when there is no complete answer after `patience` seconds.
    """
    url = f"http://{target.address}:{HTTP_PORT}/"
    agent = Agent.usingEndpointFactory(reactor, _FromNamespace(reactor, source.namespace))
    port = await _listen(reactor, target, HTTP_PORT, Site(_Greeting()))
    started = time.monotonic()
    try:
        response = await agent.request(b"GET", url.encode()).addTimeout(patience, reactor)
        body = await readBody(response).addTimeout(patience, reactor)
    except Exception as error:
        raise TrafficError(f"GET {url} failed: {_reason(error)}") from None
    finally:
        port.stopListening()
    return Fetched(url, response.code, body.decode(), time.monotonic() - started)


def _reason(error: Exception) -> str:
    """The text of an exception, or its class name if it has none."""
    return str(error) or type(error).__name__

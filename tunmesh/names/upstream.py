"""Asks the name servers of this machine about names that are not the mesh's.

    query ── UDP, a socket of its own, to the first server ──> answer
               │ silence for TIMEOUT, refused, or an answer that helps nobody: the next server
               │ an answer that was cut (TC): the same server by TCP
               ▼
             no server left: the best answer that there was, or none

Every query has a connected socket with a port of its own choice, so the kernel passes on only
what comes from that server. The server that answered last is asked first.

At most MAX_IN_FLIGHT queries wait at a time, at most MAX_SAME with the same question: a loop whose
mark got lost (names.exchange) ends there. More are refused at once.

The node's own traffic: it goes to addresses of the machine's underlay or loopback, like that of any
other process of this machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import ClientFactory, DatagramProtocol
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure

from tunmesh.names.codec import PORT, Query
from tunmesh.names.exchange import (
    MAX_REPLY,
    Exchange,
    has_answers,
    is_truncated,
    is_unhelpful,
)
from tunmesh.timers import Timer

TIMEOUT = 2.0  # seconds for one server; clients wait for 5
MAX_IN_FLIGHT = 256
MAX_SAME = 128
_MAX_PACKET = 65535

# Called once with the answer for the client; None: no server has answered.
Done = Callable[[bytes | None], None]


class Upstream:
    """`servers` are addresses. `random_bytes(n)` must be unpredictable."""

    def __init__(
        self,
        reactor: Any,
        servers: Sequence[str],
        random_bytes: Callable[[int], bytes],
        port: int = PORT,
    ) -> None:
        self._reactor = reactor
        self._servers = list(servers)
        self._random_bytes = random_bytes
        self._port = port
        self._under_way: dict[_Attempt, None] = {}
        self._marks: Counter[bytes] = Counter()  # questions as they were sent
        self._questions: Counter[bytes] = Counter()  # the same in small letters

    @property
    def in_flight(self) -> int:
        """How many queries wait for an answer."""
        return len(self._under_way)

    def is_loop(self, query: Query) -> bool:
        """Whether this query was sent by this node, and came back."""
        return query.question in self._marks or self._questions[query.question.lower()] >= MAX_SAME

    def has_room(self) -> bool:
        return bool(self._servers) and len(self._under_way) < MAX_IN_FLIGHT

    def ask(self, query: Query, done: Done) -> None:
        """Forward a query. There must be room."""
        exchange = Exchange(query, self._random_bytes)
        question = query.question.lower()
        if exchange.is_marked:
            self._marks[exchange.question] += 1
        self._questions[question] += 1

        def ended(answer: bytes | None, server: str) -> None:
            del self._under_way[attempt]
            _count_down(self._marks, exchange.question)
            _count_down(self._questions, question)
            self._prefer(server)
            done(answer)

        attempt = _Attempt(self._reactor, exchange, tuple(self._servers), self._port, ended)
        self._under_way[attempt] = None
        attempt.begin()

    def stop(self) -> None:
        """Ask nobody any more; queries that wait get no answer."""
        self._servers.clear()
        for attempt in list(self._under_way):
            attempt.stop()
        self._under_way.clear()

    def _prefer(self, server: str) -> None:
        """This server has answered; if it is "", none has."""
        if server in self._servers and self._servers[0] != server:
            self._servers.remove(server)
            self._servers.insert(0, server)


def _count_down(counter: Counter[bytes], key: bytes) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]


class _Attempt:
    """One query, from server to server. `ended(answer, server)` is called once, never from within
    `begin`."""

    def __init__(
        self,
        reactor: Any,
        exchange: Exchange,
        servers: tuple[str, ...],
        port: int,
        ended: Callable[[bytes | None, str], None],
    ) -> None:
        self._reactor = reactor
        self._exchange = exchange
        self._servers = list(servers)
        self._port = port
        self._ended = ended
        self._server = ""
        self._best: bytes | None = None  # for the client, if no other server knows better
        self._close: Callable[[], object] = _nothing
        self._timer = Timer(reactor)
        self._current: object = None  # the protocol or factory whose events count

    def begin(self) -> None:
        self._soon()

    def stop(self) -> None:
        """Wait for nothing any more."""
        self._current = None
        self._timer.stop()
        close, self._close = self._close, _nothing
        close()

    def _soon(self) -> None:
        """Go on to the next server, in another iteration of the reactor."""
        self.stop()
        self._timer.start(0, self._next)

    def _next(self) -> None:
        self.stop()
        if not self._servers:
            self._ended(self._best, "")
            return
        self._server = self._servers.pop(0)
        self._timer.start(TIMEOUT, self._next)
        self._current = protocol = _Datagrams(
            self, (self._server, self._port), self._exchange.message
        )
        interface = "::" if ":" in self._server else ""
        try:
            port = self._reactor.listenUDP(0, protocol, interface, _MAX_PACKET)
        except CannotListenError:  # no descriptor or no port is left
            self._soon()
        else:
            self._close = port.stopListening

    def _ask_by_tcp(self) -> None:
        self.stop()
        self._timer.start(TIMEOUT, self._next)
        self._current = factory = _StreamFactory(self, self._exchange.message)
        connector = self._reactor.connectTCP(self._server, self._port, factory, TIMEOUT)
        self._close = connector.disconnect

    # --- what servers say ---

    def datagram(self, source: object, answer: bytes) -> None:
        if source is not self._current or not self._exchange.accepts(answer):
            return
        if not is_truncated(answer):
            self._answered(answer, self._exchange.passed_on(answer))
            return
        if has_answers(answer):
            self._best = self._exchange.passed_on(answer)
        self._ask_by_tcp()

    def stream(self, source: object, answer: bytes) -> None:
        """An answer by TCP."""
        if source is not self._current:
            return
        if self._exchange.accepts(answer):
            self._answered(answer, self._exchange.passed_on(answer, self._exchange.query.room))
        else:
            self._soon()

    def failed(self, source: object) -> None:
        """This server cannot be reached, or has closed the connection."""
        if source is self._current:
            self._soon()

    def _answered(self, answer: bytes, for_client: bytes) -> None:
        if is_unhelpful(answer):
            self._best = self._best or for_client
            self._soon()
            return
        self.stop()
        self._ended(for_client, self._server)


def _nothing() -> None:
    pass


class _Datagrams(DatagramProtocol):
    """A socket for one query to one server."""

    noisy = False

    def __init__(self, attempt: _Attempt, server: tuple[str, int], message: bytes) -> None:
        self._attempt = attempt
        self._server = server
        self._message = message

    def startProtocol(self) -> None:
        try:
            self.transport.connect(*self._server)  # type: ignore[union-attr]
            self.transport.write(self._message)  # type: ignore[call-arg, union-attr]
        except OSError:
            self._attempt.failed(self)

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        self._attempt.datagram(self, datagram)

    def connectionRefused(self) -> None:
        self._attempt.failed(self)


class _Stream(Int16StringReceiver):
    """A connection for one query to one server."""

    MAX_LENGTH = MAX_REPLY
    factory: _StreamFactory

    def connectionMade(self) -> None:
        self.sendString(self.factory.message)

    def stringReceived(self, string: bytes) -> None:
        self.factory.attempt.stream(self.factory, string)


class _StreamFactory(ClientFactory):
    protocol = _Stream  # type: ignore[assignment]
    noisy = False

    def __init__(self, attempt: _Attempt, message: bytes) -> None:
        self.attempt = attempt
        self.message = message

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self.attempt.failed(self)

    def clientConnectionLost(self, connector: object, reason: Failure) -> None:
        self.attempt.failed(self)

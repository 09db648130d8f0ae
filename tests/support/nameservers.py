"""Name servers for tests: one with records of its own, and one that behaves like Docker's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.names import dns
from twisted.protocols.basic import Int16StringReceiver

from tunmesh.host.namespaces import Namespace

Place = tuple[str, int]


def query(
    name: str = "web.mesh", kind: int = dns.A, size: int | None = None, number: int = 7
) -> bytes:
    """A query as a client sends it; `size`: of the answers that it takes, by EDNS."""
    message = dns.Message(number, recDes=1, maxSize=0)
    message.addQuery(name.encode(), kind)
    if size is not None:
        message.additional = [dns.RRHeader(b"", dns.OPT, size, 0, dns.UnknownRecord(b""))]
    return message.toStr()


def read(message: bytes) -> Any:
    """A `dns.Message`."""
    found = dns.Message()
    found.fromStr(message)
    return found


def answer(
    asked: bytes, addresses: Sequence[str] = (), code: int = dns.OK, truncated: bool = False
) -> bytes:
    """An answer to this query, with these A records. The question is as it was sent."""
    message = read(asked)
    message.answer, message.recAv, message.rCode, message.trunc = 1, 1, code, int(truncated)
    name = message.queries[0].name.name
    message.answers = [
        dns.RRHeader(name, dns.A, ttl=60, payload=dns.Record_A(address)) for address in addresses
    ]
    message.additional = []
    encoded: bytes = message.toStr()
    return encoded


class Nameserver(DatagramProtocol):
    """Answers A queries from `names`, and says of all others that they do not exist. What it was
    asked is in `asked`; of the names in `large`, it has the answers for TCP only."""

    noisy = False

    def __init__(self, names: Mapping[str, Sequence[str]], large: Sequence[str] = ()) -> None:
        self.names = names
        self.large = large
        self.asked: list[str] = []
        self.is_silent = False
        self.code = dns.OK  # what it answers instead, if not OK
        self.instead: bytes | None = None  # the bytes that it sends by TCP, before it hangs up

    def datagramReceived(self, datagram: bytes, addr: Place) -> None:
        said = self.respond(datagram)
        if said is not None:
            self.transport.write(said, addr)  # type: ignore[union-attr]

    def respond(self, asked: bytes, by_tcp: bool = False) -> bytes | None:
        (question,) = read(asked).queries
        name = question.name.name.decode().lower()
        self.asked.append(name)
        if self.is_silent:
            return None
        if self.code:
            return answer(asked, code=self.code)
        addresses = self.names.get(name)
        if addresses is None:
            return answer(asked, code=dns.ENAME)
        if name in self.large and not by_tcp:
            return answer(asked, addresses[:1], truncated=True)
        return answer(asked, addresses if question.type == dns.A else ())

    def by_tcp(self) -> Factory:
        """The same by TCP."""
        factory = Factory()
        factory.protocol = _Stream
        factory.server = self  # type: ignore[attr-defined]
        return factory


class _Stream(Int16StringReceiver):
    def stringReceived(self, string: bytes) -> None:
        instead = self.factory.server.instead
        if instead is not None:
            self.transport.write(instead)  # type: ignore[union-attr]
            self.transport.loseConnection()  # type: ignore[union-attr]
            return
        said = self.factory.server.respond(string, by_tcp=True)
        if said is not None:
            self.sendString(said)


class DockersResolver(DatagramProtocol):
    """Forwards each query to the first server, and to the next one if that refuses or fails."""

    noisy = False

    def __init__(self, reactor: Any, inside: Namespace, servers: Sequence[Place]) -> None:
        self._reactor = reactor
        self._inside = inside  # where its sockets are
        self._servers = servers
        self.forwarded: list[Place] = []

    def datagramReceived(self, datagram: bytes, addr: Place) -> None:
        self._ask(datagram, addr, list(self._servers))

    def _ask(self, asked: bytes, client: Place, servers: list[Place]) -> None:
        def answered(said: bytes) -> None:
            if read(said).rCode in (dns.EREFUSED, dns.ESERVER) and servers:
                self._ask(asked, client, servers)
            else:
                self.transport.write(said, client)  # type: ignore[union-attr]

        server = servers.pop(0)
        self.forwarded.append(server)
        with self._inside:
            self._reactor.listenUDP(0, _Forwarded(asked, server, answered))


class _Forwarded(DatagramProtocol):
    noisy = False

    def __init__(self, asked: bytes, server: Place, answered: Any) -> None:
        self._asked, self._server, self._answered = asked, server, answered

    def startProtocol(self) -> None:
        self.transport.write(self._asked, self._server)  # type: ignore[union-attr]

    def datagramReceived(self, datagram: bytes, addr: Place) -> None:
        self.transport.stopListening()  # type: ignore[union-attr]
        self._answered(datagram)

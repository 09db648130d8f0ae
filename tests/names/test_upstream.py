"""Name servers on loopback: silent ones, ones that refuse, answers by TCP, loops, bounds."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as trial_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock, deferLater
from twisted.trial import unittest

from tests.support.nameservers import Nameserver, query, read
from tunmesh.names import codec
from tunmesh.names.upstream import MAX_IN_FLIGHT, MAX_SAME, TIMEOUT, Upstream

reactor: Any = trial_reactor
NAMES = {"example.com": ["192.0.2.7"], "large.example": [f"192.0.2.{n}" for n in range(200)]}


class Timed:
    """The reactor's sockets, and a clock that stands still until the test advances it: no answer is
    too late because the machine is busy."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.seconds = self.clock.seconds
        self.listenUDP = reactor.listenUDP

    def callLater(self, delay: float, call: Callable[..., object], *arguments: object) -> Any:
        return (self.clock if delay else reactor).callLater(delay, call, *arguments)

    def connectTCP(self, host: str, port: int, factory: Any, _timeout: float) -> Any:
        return reactor.connectTCP(host, port, factory, None)


class Asking(unittest.TestCase):
    """One or two name servers at 127.0.0.1 and 127.0.0.2."""

    def setUp(self) -> None:
        self.timed = Timed()
        self.first, self.second = Nameserver(NAMES, ["large.example"]), Nameserver(NAMES)
        one = reactor.listenUDP(0, self.first, interface="127.0.0.1")
        self.addCleanup(one.stopListening)
        self.port = one.getHost().port
        stream = reactor.listenTCP(self.port, self.first.by_tcp(), interface="127.0.0.1")
        self.addCleanup(stream.stopListening)
        other = reactor.listenUDP(self.port, self.second, interface="127.0.0.2")
        self.addCleanup(other.stopListening)
        self.upstream = self.made("127.0.0.1", "127.0.0.2")

    def made(self, *servers: str) -> Upstream:
        made = Upstream(self.timed, servers, secrets.token_bytes, self.port)
        self.addCleanup(made.stop)
        return made

    def ask(
        self, name: str = "example.com", by: Upstream | None = None, size: int | None = None
    ) -> Deferred[bytes | None]:
        answer: Deferred[bytes | None] = Deferred()
        (by or self.upstream).ask(codec.decode(query(name, size=size)), answer.callback)
        return answer

    async def answered(self, *arguments: Any, **named: Any) -> Any:
        said = await self.ask(*arguments, **named)
        assert said is not None
        return read(said)

    async def asked(self, server: Nameserver) -> None:
        """Wait until this server has been asked."""
        while not server.asked:
            await deferLater(reactor, 0.001)

    async def nothing(self, answer: Deferred[bytes | None]) -> None:
        """Servers say nothing until their time is over, and there is no answer."""
        while not answer.called:
            await deferLater(reactor, 0.001)
            self.timed.clock.advance(TIMEOUT)
        self.assertIsNone(await answer)

    async def test_answer(self) -> None:
        """The answer of the first server, with the client's id and question."""
        said = await self.answered("eXample.com")
        self.assertEqual((said.id, said.queries[0].name.name), (7, b"eXample.com"))
        self.assertEqual(said.answers[0].payload.dottedQuad(), "192.0.2.7")
        self.assertEqual((self.second.asked, self.upstream.in_flight), ([], 0))

    async def test_no_such_name(self) -> None:
        """That a name does not exist is an answer: nobody else is asked."""
        self.assertEqual((await self.answered("nobody.example")).rCode, 3)
        self.assertEqual(self.second.asked, [])

    async def test_silence(self) -> None:
        """After a silent server the next one is asked, which is the first one from then on."""
        self.first.is_silent = True
        answer = self.ask()
        await self.asked(self.first)
        self.timed.clock.advance(TIMEOUT)
        said = await answer
        assert said is not None
        self.assertEqual(read(said).rCode, 0)
        self.assertEqual((await self.answered()).rCode, 0)
        self.assertEqual((len(self.first.asked), len(self.second.asked)), (1, 2))

    async def test_refusals(self) -> None:
        """If all refuse, the first refusal is passed on; with a better answer, that is."""
        self.first.code, self.second.code = 5, 2
        self.assertEqual((await self.answered()).rCode, 5)
        self.second.code = 0
        self.assertEqual((await self.answered()).rCode, 0)

    async def test_nobody(self) -> None:
        """Without a server that answers there is no answer: not there, or no such address."""
        await self.nothing(self.ask(by=self.made("127.0.0.3", "127.0.0.4")))
        await self.nothing(self.ask(by=self.made("fe80::1%nowhere", "2001:db8::1")))
        self.assertFalse(self.made().has_room())

    async def test_by_tcp(self) -> None:
        """An answer that was cut is fetched by TCP; as much as the client takes is passed on."""
        for size, least in ((None, 28), (1232, 70), (65535, 70)):
            said = await self.answered("large.example", size=size)
            self.assertEqual((said.rCode, said.trunc), (0, 0))
            self.assertGreaterEqual(len(said.answers), least)

    async def test_no_tcp(self) -> None:
        """If the server does not take TCP, the next one is asked; if there is none, what the cut
        answer has is passed on."""
        self.second.large = ["large.example"]
        said = await self.answered("large.example", by=self.made("127.0.0.2"))
        self.assertEqual((said.rCode, said.trunc, len(said.answers)), (0, 0, 1))
        said = await self.answered("large.example", by=self.made("127.0.0.2", "127.0.0.1"))
        self.assertGreater(len(said.answers), 1)

    async def test_loop(self) -> None:
        """A query with the capitals of one that waits is our own; the same question from another
        client is not; a loop that lost its mark ends as well."""
        self.first.is_silent = self.second.is_silent = True
        asked = [self.ask()]
        await self.asked(self.first)
        again = codec.decode(query("example.com"))
        self.assertFalse(self.upstream.is_loop(again))
        (attempt,) = self.upstream._under_way
        ours = codec.decode(attempt._exchange.message)
        self.assertTrue(self.upstream.is_loop(ours))
        asked += [self.ask() for _ in range(MAX_SAME - 1)]
        self.assertTrue(self.upstream.is_loop(again))
        self.assertFalse(self.upstream.is_loop(codec.decode(query("example.org"))))
        for each in asked:
            await self.nothing(each)
        self.assertFalse(self.upstream.is_loop(again))
        self.assertFalse(self.upstream.is_loop(ours))

    async def test_bound(self) -> None:
        """Only so many wait at a time; when they have ended there is room again, and no socket is
        left."""
        self.first.is_silent = self.second.is_silent = True
        asked = [self.ask(f"n{n}.example") for n in range(MAX_IN_FLIGHT)]
        self.assertFalse(self.upstream.has_room())
        for each in asked:
            await self.nothing(each)
        self.assertTrue(self.upstream.has_room())
        self.assertEqual(self.upstream.in_flight, 0)

    async def test_no_socket(self) -> None:
        """Without a descriptor for a socket there is no answer, and no traceback."""

        class Poor:
            seconds, callLater = reactor.seconds, reactor.callLater

            def listenUDP(self, *_: object) -> None:
                raise CannotListenError("", 0, OSError(24, "Too many open files"))

        self.upstream = Upstream(Poor(), ("127.0.0.1", "127.0.0.2"), secrets.token_bytes)
        self.assertIsNone(await self.ask())
        self.assertEqual(self.upstream.in_flight, 0)

    async def test_nonsense_by_tcp(self) -> None:
        """A server that closes the connection, sends too much or something else by TCP has not
        answered: the next one is asked."""
        self.second.large = []
        for nonsense in (b"", b"\xff\xff", b"\0\5hello", b"\0\0"):
            self.first.instead = nonsense
            said = await self.answered("large.example", by=self.made("127.0.0.1", "127.0.0.2"))
            self.assertEqual((said.rCode, said.trunc), (0, 0))
            self.assertGreater(len(said.answers), 20)

    async def test_stop(self) -> None:
        """After the end nobody gets an answer, and nothing is left open (trial looks)."""
        self.first.is_silent = True
        answer = self.ask()
        await self.asked(self.first)
        self.upstream.stop()
        self.timed.clock.advance(3 * TIMEOUT)
        await deferLater(reactor, 0.001)
        self.assertFalse(answer.called)

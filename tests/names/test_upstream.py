"""Name servers on loopback: silent ones, ones that refuse, answers by TCP, loops, bounds."""

from __future__ import annotations

import secrets
from typing import Any

from twisted.internet import reactor as trial_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.trial import unittest

from tests.support.nameservers import Nameserver, query, read
from tunmesh.names import codec, upstream
from tunmesh.names.upstream import MAX_IN_FLIGHT, MAX_SAME, Upstream

reactor: Any = trial_reactor
PATIENCE = 10.0  # seconds, where nothing has to be waited for
NAMES = {"example.com": ["192.0.2.7"], "large.example": [f"192.0.2.{n}" for n in range(200)]}


class Asking(unittest.TestCase):
    """One or two name servers at 127.0.0.1 and 127.0.0.2."""

    def setUp(self) -> None:
        self.patch(upstream, "TIMEOUT", 0.2)
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
        made = Upstream(reactor, servers, secrets.token_bytes, self.port)
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
        self.assertEqual((await self.answered()).rCode, 0)
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
        self.assertIsNone(await self.ask(by=self.made("127.0.0.3", "127.0.0.4")))
        self.assertIsNone(await self.ask(by=self.made("fe80::1%nowhere", "2001:db8::1")))
        self.assertFalse(self.made().has_room())

    async def test_by_tcp(self) -> None:
        """An answer that was cut is fetched by TCP; as much as the client takes is passed on."""
        self.patch(upstream, "TIMEOUT", PATIENCE)
        for size, least in ((None, 28), (1232, 70), (65535, 70)):
            said = await self.answered("large.example", size=size)
            self.assertEqual((said.rCode, said.trunc), (0, 0))
            self.assertGreaterEqual(len(said.answers), least)

    async def test_no_tcp(self) -> None:
        """If the server does not take TCP, the next one is asked; if there is none, what the cut
        answer has is passed on."""
        self.patch(upstream, "TIMEOUT", PATIENCE)
        self.second.large = ["large.example"]
        said = await self.answered("large.example", by=self.made("127.0.0.2"))
        self.assertEqual((said.rCode, said.trunc, len(said.answers)), (0, 0, 1))
        said = await self.answered("large.example", by=self.made("127.0.0.2", "127.0.0.1"))
        self.assertGreater(len(said.answers), 1)

    async def test_loop(self) -> None:
        """A query with the capitals of one that waits is our own; the same question from another
        client is not; a loop that lost its mark ends as well."""
        self.first.is_silent = True
        asked = [self.ask()]
        await deferLater(reactor, 0.05)
        again = codec.decode(query("example.com"))
        self.assertFalse(self.upstream.is_loop(again))
        (attempt,) = self.upstream._under_way
        ours = codec.decode(attempt._exchange.message)
        self.assertTrue(self.upstream.is_loop(ours))
        asked += [self.ask() for _ in range(MAX_SAME - 1)]
        self.assertTrue(self.upstream.is_loop(again))
        self.assertFalse(self.upstream.is_loop(codec.decode(query("example.org"))))
        for each in asked:
            await each
        self.assertFalse(self.upstream.is_loop(again))
        self.assertFalse(self.upstream.is_loop(ours))

    async def test_bound(self) -> None:
        """Only so many wait at a time; when they have ended there is room again, and no socket is
        left."""
        self.first.is_silent = self.second.is_silent = True
        asked = [self.ask(f"n{n}.example") for n in range(MAX_IN_FLIGHT)]
        self.assertFalse(self.upstream.has_room())
        for each in asked:
            self.assertIsNone(await each)
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
        self.patch(upstream, "TIMEOUT", PATIENCE)
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
        await deferLater(reactor, 0.05)
        self.upstream.stop()
        await deferLater(reactor, 0.3)
        self.assertFalse(answer.called)

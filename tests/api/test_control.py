"""The control socket: who may use it, and what it answers."""

from __future__ import annotations

import json
import socket
import stat
import struct
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from twisted.internet import reactor as trial_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial import unittest

from tests.api.test_public import Connection
from tests.packets.test_flow import FOUR, PORTS, ipv4
from tests.support.control import FakeNode, command, pcapng_blocks
from tunmesh.api import control
from tunmesh.cli.client import Client
from tunmesh.errors import OperatorError
from tunmesh.host import unix_port
from tunmesh.status.traffic import Dropped

reactor: Any = trial_reactor


class NodePages(unittest.TestCase):
    """What the node does for `tunmesh ping`, `explain` and `capture`."""

    def setUp(self) -> None:
        self.node = FakeNode(self)
        self.client = Client(self.node.path)

    async def asked(self, method: Callable[[str], Any], page: str) -> Any:
        return await deferToThread(method, page)

    async def test_ping(self) -> None:
        """The round trip of one link, or that no answer came."""
        page = f"/v1/ping?node={self.node.now.peers[0].record.id}"
        self.assertEqual(await self.asked(self.client.post, page), {"rtt": 0.0004})
        self.node.rtt = None
        self.assertEqual(await self.asked(self.client.post, page), {"rtt": None})

    async def test_wrong_questions(self) -> None:
        """A wrong request is answered with what would be right."""
        for method, page, why in (
            (self.client.post, "/v1/ping?node=nobody", "no node with the id 'nobody' is linked"),
            (
                self.client.get,
                "/v1/explain?source=a&destination=b",
                "source must be an IP address",
            ),
            (self.client.get, "/v1/capture?port=x", "port must be a number, 0 or more"),
            (self.client.get, "/v1/capture?protocol=ip", "protocol must be one of icmp, tcp"),
            (self.client.get, "/v1/events?since=-1", "since must be a number, 0 or more"),
            (self.client.get, "/v2/status", "it answers 404: another version of tunmesh?"),
            (self.client.get, "/v1/drain", "it answers 405"),
        ):
            with self.assertRaises(OperatorError) as caught:
                await self.asked(method, page)
            self.assertIn(why, str(caught.exception))
        self.assertEqual(self.node.drained, 0)

    async def test_explain(self) -> None:
        """The steps, and the last drops like it."""
        drops = self.node.drops
        drops.append(Dropped(99.0, "no_route", None, ipv4(6, PORTS)))
        drops.append(Dropped(99.5, "spoofed_source", "bravo", ipv4(17, PORTS)))
        drops.append(Dropped(99.5, "malformed", "bravo", b"garbage"))
        result = await command(self.node.path, "explain", *FOUR, "tcp", "443")
        self.assertEqual(result.exit_code, 2)
        *_, last = result.output.splitlines()
        self.assertEqual(last, "dropped 1.0 s ago (no_route): tcp 10.77.0.1:5000 > 10.77.0.2:443")
        self.assertNotIn("spoofed_source):", result.output)

    async def test_resolve(self) -> None:
        """What a name leads to, with or without the domain; an address; what is not there."""
        for name, found in (
            ("bravo", {"10.77.1.2": "bravo"}),
            ("BRAVO.mesh.", {"10.77.1.2": "bravo"}),
            ("10.77.1.2", {"10.77.1.2": "bravo.mesh"}),
            ("_nodes", {"10.77.1.1": "alpha", "10.77.1.2": "bravo", "10.77.1.3": "charlie"}),
        ):
            tree = await self.asked(self.client.get, f"/v1/resolve?name={name}")
            self.assertEqual(tree["outcome"], "answered", name)
            self.assertEqual({each["address"]: each["node"] for each in tree["found"]}, found)
            result = await command(self.node.path, "resolve", name)
            self.assertEqual(result.exit_code, 0)
            self.assertIn(next(iter(found)), result.output)
        for name, outcome, why in (
            ("delta", "nxdomain", "no linked node has this name"),
            ("example.com", "forwarded", "it is forwarded to 192.0.2.53"),
            ("10.77.9.9", "nxdomain", "no linked node has this address"),
            ("192.0.2.1", "forwarded", "is not in the mesh's networks"),
        ):
            result = await command(self.node.path, "resolve", name)
            self.assertEqual(result.exit_code, 2, name)
            self.assertIn(outcome, result.output)
            self.assertIn(why, result.output)
        result = await command(self.node.path, "resolve", "-o", "json", "delta")
        self.assertEqual(json.loads(result.output)["outcome"], "nxdomain")
        for name in ("", "x" * 254):
            with self.assertRaises(OperatorError):
                await self.asked(self.client.get, f"/v1/resolve?name={name}")

    async def test_names_for_addresses(self) -> None:
        """`explain` takes names; one that leads nowhere is refused with the reason."""
        result = await command(self.node.path, "explain", "alpha", "bravo.mesh")
        self.assertIn("10.77.1.2 belongs to bravo", result.output)
        result = await command(self.node.path, "explain", "alpha", "delta")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("delta.mesh: no linked node has this name", result.output)
        result = await command(self.node.path, "ping", "delta.mesh")
        self.assertIn("is no linked node, nor an address of one; linked: bravo, ch", result.output)

    async def test_misspelt_names(self) -> None:
        """A name that is close to that of a node is answered with the node's."""
        for line in (
            ("explain", "alpha", "brvo.mesh"),
            ("ping", "brvao"),
            ("resolve", "barvo"),
        ):
            result = await command(self.node.path, *line)
            self.assertNotEqual(result.exit_code, 0)
            self.assertIn("did you mean bravo?", result.output, line)

    async def test_capture_of_one_node(self) -> None:
        """The packets of one node, by its name or its id."""
        bravo, charlie = self.node.now.peers
        for peer in (charlie.record.name, charlie.record.id):
            out = BytesIO()
            copying = deferToThread(self.client.copy, f"/v1/capture?peer={peer}", out)
            while not self.node.taps:
                await _turn()
            (tap,) = self.node.taps
            for each in (bravo, charlie):
                tap(each, True, [bytes(10) + ipv4(6, PORTS)])
            while b"charlie" not in out.getvalue():
                await _turn()
            self.node.hang_up()
            await copying
            self.assertNotIn(b"bravo", out.getvalue())

    async def test_ambiguous_name(self) -> None:
        """A name that two nodes have is refused with the addresses and ids of both, also when one
        of the two is this node itself."""
        status = self.node.now
        bravo, charlie = status.peers
        for peers, name, addresses in (
            (
                (bravo, replace(charlie, record=replace(charlie.record, name="bravo"))),
                "bravo",
                bravo,
            ),
            ((replace(bravo, record=replace(bravo.record, name="alpha")), charlie), "alpha", bravo),
        ):
            self.node.now = replace(status, peers=peers)
            for arguments in (("ping", name), ("capture", "--peer", name)):
                result = await command(self.node.path, *arguments)
                self.assertEqual(result.exit_code, 1)
                self.assertIn(f"{name}: 2 nodes have this name, ", result.output)
                self.assertIn(addresses.record.id, result.output)

    async def test_capture(self) -> None:
        """The requested packets as they pass, with their peers as interfaces."""
        out = BytesIO()
        copying = deferToThread(self.client.copy, "/v1/capture?protocol=tcp&host=10.77.0.1", out)
        while not self.node.taps:
            await _turn()
        bravo, charlie = self.node.now.peers
        (tap,) = self.node.taps
        first, second = (bytes(10) + ipv4(6, PORTS + extra) for extra in (b"", b"more"))
        tap(bravo, True, [first, bytes(10) + ipv4(17, PORTS)])
        tap(charlie, False, [memoryview(second), b""])
        while not out.getvalue().endswith(struct.pack("<I", 88)):
            await _turn()
        self.node.hang_up()
        await copying
        self.assertEqual(self.node.taps, set())
        blocks = list(pcapng_blocks(out.getvalue()))
        self.assertEqual([kind for kind, _ in blocks], [0x0A0D0D0A, 1, 6, 1, 6])
        self.assertIn(b"bravo", blocks[1][1])
        for (_, body), number, frame, direction in zip(
            (blocks[2], blocks[4]), (0, 1), (first, second), (2, 1), strict=True
        ):
            size = len(frame) - 10
            self.assertEqual(struct.unpack_from("<I8xII", body), (number, size, size))
            self.assertEqual(body[20 : 20 + size], frame[10:])
            self.assertIn(struct.pack("<HHI", 2, 4, direction), body[20 + size :])


class Streams(unittest.TestCase):
    """Answers that go on until the client hangs up."""

    def setUp(self) -> None:
        self.node = FakeNode(self)
        reports = self.node.reports
        self.site = control.site(self.node, self.node.drain, reports, Clock())

    def ask(self, page: str, method: str = "GET") -> tuple[Connection, bytes]:
        """A connection to the site, in memory, and how the answer begins."""
        connection = Connection(self.site.buildProtocol(None))
        return connection, connection.say(f"{method} {page} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    def test_bounded(self) -> None:
        """Followed events and captures have one limit, and a refusal says why; the other pages
        answer, and so does another stream when one has ended."""
        first, _ = self.ask("/v1/events?follow=1")
        for number in range(1, control.MOST_STREAMS):
            page = ("/v1/capture", "/v1/events?follow=1")[number % 2]
            self.assertIn(b" 200 ", self.ask(page)[1])
        for page in ("/v1/events?follow=1", "/v1/capture"):
            answer = self.ask(page)[1]
            self.assertIn(b" 503 ", answer)
            self.assertIn(f"{control.MOST_STREAMS} streams are open already".encode(), answer)
        self.assertIn(b" 200 ", self.ask("/v1/events")[1])
        first.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertIn(b" 200 ", self.ask("/v1/capture")[1])
        self.assertIn(b" 503 ", self.ask("/v1/capture")[1])

    def test_head(self) -> None:
        """HEAD of a capture ends, and nothing is captured for it."""
        connection, answer = self.ask("/v1/capture", "HEAD")
        self.assertIn(b" 200 ", answer)
        self.assertTrue(connection.transport.disconnecting)
        self.assertEqual(self.node.taps, set())


class TheSocket(unittest.TestCase):
    """The socket as a file."""

    def setUp(self) -> None:
        self.node = FakeNode(self)

    def test_mode(self) -> None:
        """Nobody else may connect, whatever the umask; the directory is made."""
        status = self.node.path.stat()
        self.assertTrue(stat.S_ISSOCK(status.st_mode))
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o600)

    async def test_links_are_not_followed(self) -> None:
        """Once the socket is made, its path is not used again: where others can write to the
        directory, it may lead elsewhere by then."""
        victim = self.node.directory / "victim"
        victim.write_text("mine")
        victim.chmod(0o644)
        self.addCleanup(victim.unlink)
        path = self.node.directory / "new" / "swapped.sock"

        class Swapped(socket.socket):
            def bind(self, address: Any, /) -> None:
                super().bind(address)
                path.unlink()
                path.symlink_to(victim)

        self.patch(socket, "socket", Swapped)
        site = self.node.port.factory  # type: ignore[attr-defined]
        port: Any = unix_port.listen(reactor, path, site)
        await port.stopListening()
        self.assertEqual(stat.S_IMODE(victim.stat().st_mode), 0o644)
        self.assertEqual(stat.S_IMODE(path.parent.stat().st_mode), 0o755)
        path.parent.rmdir()

    def refused(self, path: Path) -> str:
        site = self.node.port.factory  # type: ignore[attr-defined]
        error = self.assertRaises(OperatorError, unix_port.listen, reactor, path, site)
        return str(error)

    def test_two_nodes(self) -> None:
        """The socket of another node that runs is left alone."""
        self.assertIn("another node listens there", self.refused(self.node.path))
        self.assertTrue(self.node.path.exists())

    def test_nobody_accepts(self) -> None:
        """A process that listens there but accepts nothing does not keep the node from starting."""
        path = self.node.directory / "busy.sock"
        with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
            busy.bind(str(path))
            self.addCleanup(path.unlink)
            busy.listen(0)
            first.connect(str(path))
            self.assertIn("another node listens there", self.refused(path))

    def test_something_else(self) -> None:
        """A file that is no socket is left alone."""
        file = self.node.directory / "file"
        file.write_text("mine")
        self.addCleanup(file.unlink)
        self.assertIn("not a socket", self.refused(file))
        self.assertEqual(file.read_text(), "mine")

    async def test_left_behind(self) -> None:
        """The socket of a node that was killed is taken over."""
        path = self.node.directory / "old.sock"
        with socket.socket(socket.AF_UNIX) as old:
            old.bind(str(path))
        site = self.node.port.factory  # type: ignore[attr-defined]
        port: Any = unix_port.listen(reactor, path, site)
        await port.stopListening()
        self.assertFalse(path.exists())

    async def test_nobody_there(self) -> None:
        """A command that finds no node says where it looked, in one line."""
        result = await command(self.node.directory / "none.sock", "status")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("no node answers at", result.output)
        self.assertEqual(result.output.count("\n"), 1)


def _turn() -> Deferred[None]:
    """The reactor has turned once more."""
    turned: Deferred[None] = Deferred()
    reactor.callLater(0.01, turned.callback, None)
    return turned

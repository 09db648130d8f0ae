"""The control socket: who may use it, what it says and does, and the commands that speak to it."""

from __future__ import annotations

import json
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from click import unstyle
from click.testing import CliRunner, Result
from twisted.internet import reactor as trial_reactor
from twisted.internet import unix
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from twisted.trial import unittest

from tests.api.test_public import Connection
from tests.observe.test_explain import NETWORKS, table_of
from tests.observe.test_metrics import a_status, sample_of
from tests.packets.test_flow import FOUR, PORTS, ipv4
from tests.support.places import short_directory
from tunmesh.api import control, read_only
from tunmesh.cli import views
from tunmesh.cli.client import Client
from tunmesh.cli.main import main
from tunmesh.errors import OperatorError
from tunmesh.host import unix_port
from tunmesh.logs.observers import RecentEvents
from tunmesh.observe.explain import Explainer
from tunmesh.observe.samples import History
from tunmesh.status import Check, DialStatus, Dropped, Health, KnownNode, LostNode, Status
from tunmesh.wire.records import NodeRecord

reactor: Any = trial_reactor
EPOCH = 1_795_644_500.0


class Standing:
    """What a control socket speaks for: a status that a test may change, and a log."""

    def __init__(self, case: unittest.TestCase) -> None:
        self.now: Status = a_status()
        self.history = History()
        self.recent = RecentEvents()
        self.log = Logger(namespace="tunmesh", observer=LogPublisher(self.recent))
        self.drained = 0
        self.is_whole = True  # all links are told
        self.directory = short_directory(case)
        self.path = self.directory / "run" / "control.sock"
        self.taps: set[Any] = set()
        self.drops: list[Dropped] = []
        self.rtt: float | None = 0.0004
        self.reports = read_only.Reports(
            self.status, self.known_nodes, self.recent, self.history, lambda: EPOCH
        )
        site = control.site(self, self.drain, self.reports, reactor)
        self.port: IListeningPort = unix_port.listen(reactor, self.path, site)
        case.addCleanup(self.close)

    def hang_up(self) -> None:
        """Close every connection."""
        for reader in reactor.getReaders():
            if isinstance(reader, unix.Server):
                reader.abortConnection()

    def drain(self) -> None:
        self.drained += 1

    def status(self) -> Status:
        return self.now

    def health(self) -> Health:
        return self.now.health

    def explainer(self) -> Explainer:
        return Explainer(self.now, self.known_nodes(0), table_of(self.now), NETWORKS)

    def ping(self, node_id: str) -> Deferred[float | None]:
        if node_id not in [peer.record.id for peer in self.now.peers]:
            raise KeyError(node_id)
        return succeed(self.rtt)

    def known_nodes(self, crowd: float) -> tuple[KnownNode, ...]:
        """Two linked nodes, which are linked with each other, and one that nobody knows yet."""
        me, bravo, charlie = (record.id for record in self.records())
        known_nodes = (
            KnownNode(bravo, self.records()[1], (me, charlie)),
            KnownNode(charlie, self.records()[2], (me, bravo)),
            KnownNode("9" * 32, None, (bravo,)),
        )
        return tuple(replace(node, is_whole=self.is_whole) for node in known_nodes)

    def records(self) -> list[NodeRecord]:
        return [self.now.record, *(peer.record for peer in self.now.peers)]

    async def close(self) -> None:
        closed: Any = self.port.stopListening()
        await closed


def command(path: Path, *arguments: str) -> Deferred[Result]:
    """Run `tunmesh` in a thread, the node being this one."""
    name, *rest = arguments
    return deferToThread(
        CliRunner().invoke, main, [name, "--socket", str(path), *rest], env={"COLUMNS": "80"}
    )


class Commands(unittest.TestCase):
    """`tunmesh …` as a person sees it."""

    def setUp(self) -> None:
        self.standing = Standing(self)

    async def says(self, *arguments: str, code: int = 0) -> str:
        result = await command(self.standing.path, *arguments)
        self.assertEqual(result.exit_code, code, result.output)
        output: str = result.output
        return output

    async def test_status(self) -> None:
        """A line for this node, one for each peer, and nothing wider than a terminal."""
        text = await self.says("status")
        first, keys, blank, head, bravo, charlie = text.splitlines()
        self.assertEqual(first, "alpha  10.77.1.1/24  ready, up 1m30s, linked 2 of 4 expected")
        self.assertEqual(
            keys,
            "secrets in use, by place: 1 (offered) by 2 peers, 2 by 0 peers",
        )
        self.assertEqual(blank, "")
        self.assertEqual(head.split()[:5], ["PEER", "ADDRESS", "LINK", "SINCE", "RTT"])
        self.assertEqual(bravo.split()[:6], ["bravo", "10.77.1.2", "out", "1m40s", "1.00ms", "0%"])
        self.assertIn("charlie", charlie)
        self.assertLessEqual(max(map(len, text.splitlines())), 80)

    async def test_status_problems(self) -> None:
        """What is wrong is on top, in words, and the exit code says so too."""
        bad = replace(self.standing.now.ready[0], ok=False, reason="not linked to any node")
        dial = DialStatus("delta", False, "192.0.2.4:4567", 3, "Connection refused", 4.2)
        self.standing.now = replace(
            self.standing.now, ready=(bad,), peers=(), dials=(dial,), certificate_expiry=EPOCH
        )
        lines = (await self.says("status", code=2)).splitlines()
        self.assertIn("not ready", lines[0])
        self.assertEqual(
            lines[1:4] + lines[5:6],
            [
                "! not linked to any node",
                "! no link with delta at 192.0.2.4:4567: Connection refused (3 times, again in 4"
                " s)",
                "! the certificate has expired",
                "",
            ],
        )
        self.assertEqual(lines[-1].split(), ["delta", "192.0.2.4:4567", "down"])

    async def test_status_fits_the_terminal(self) -> None:
        """On a terminal long sentences are broken between words, and a command in one stays whole
        words; elsewhere each is a line."""
        reason = "tun1 has no address 10.77.1.1: " + "ip addr add 10.77.1.1/24 dev tun1; " * 5
        bad = Check("device", False, reason.strip())
        self.standing.now = replace(self.standing.now, ready=(bad,))
        tree = json.loads(await self.says("status", "-o", "json", code=2))
        self.assertIn(f"! {bad.reason}", unstyle("\n".join(views.status(tree))).splitlines())
        shown = unstyle("\n".join(views.status(tree, columns=80))).splitlines()
        self.assertLessEqual(max(map(len, shown)), 80)
        start = shown.index(next(line for line in shown if line.startswith("! tun1")))
        again = " ".join(line.strip() for line in shown[start : shown.index("", start)])
        self.assertTrue(again.startswith(f"! {bad.reason}"))

    async def test_status_lost(self) -> None:
        """Nodes that were linked are shown, the first few; that some went without a goodbye is a
        problem for an hour."""
        nodes = [
            LostNode(f"n{ago}", f"192.0.2.{ago}:4567", 60.0 * ago, ago < 3, ago, "refused", 4.2)
            for ago in (1, 2, 3, 4, 5, 6, 61)
        ]
        self.standing.now = replace(self.standing.now, lost=tuple(nodes))
        lines = (await self.says("status")).splitlines()
        self.assertIn("! lost without a goodbye, being dialed: n3, n4, n5, n6", lines)
        self.assertEqual(lines[-6].split(), ["n1", "192.0.2.1:4567", "left", "1m"])
        self.assertEqual(lines[-2].split(), ["n5", "192.0.2.5:4567", "lost", "5m"])
        self.assertEqual(lines[-1], "and 2 more that were linked (-o wide shows them)")
        self.assertIn("n61", await self.says("status", "-o", "wide"))
        others = json.loads(await self.says("status", "-o", "json"))["others"]
        self.assertEqual(others, self.standing.now.nodes_known + 4)  # n3 to n6
        many = [replace(node, left=False, ago=1.0) for node in nodes]
        self.standing.now = replace(self.standing.now, lost=tuple(many))
        self.assertIn("n1, n2, n3, n4, n5 and 2 more", await self.says("status"))

    async def test_duplicate(self) -> None:
        """Two nodes with one address are both named, and by who looks at either of them."""
        first, second, *_ = self.standing.now.peers
        twin = replace(second, record=replace(second.record, addresses=first.record.addresses))
        self.standing.now = replace(self.standing.now, peers=(first, replace(twin, routed=())))
        address = first.routed[0]
        text = await self.says("status")
        names = f"{first.record.name} and {second.record.name}"
        self.assertIn(f"! two nodes have the address {address}: {names}", text)

    async def test_lately(self) -> None:
        """What was dropped or failed shortly ago is a problem; what was long ago is not."""
        self.standing.history.sample(sample_of(self.standing.now))
        self.assertNotIn("!", await self.says("status"))
        old = self.standing.now
        self.standing.now = replace(
            old,
            now=old.now + 60,
            dropped={**old.dropped, "queue_full": 7},
            handshake_failures={"bad_proof": 41},
        )
        text = await self.says("status")
        self.assertIn("! 1 connection did not become a link in the last 60 s: a wrong proof", text)
        self.assertIn("! 7 packets dropped in the last 60 s: queue_full", text)

    async def test_doctor(self) -> None:
        """What a node complains of is a doubt while it is ready, and a defect when it is not."""
        self.standing.now = replace(self.standing.now, certificate_expiry=EPOCH)
        complaint = "the certificate has expired"
        config = Path(self.mktemp())
        config.write_text("tun_mesh: {}\n")
        self.assertIn(f"  ?   {complaint}", await self.says("doctor", str(config), code=2))
        bad = replace(self.standing.now.ready[0], ok=False)
        self.standing.now = replace(self.standing.now, ready=(bad,))
        self.assertIn(f"  NO  {complaint}", await self.says("doctor", str(config), code=2))

    async def test_routes(self) -> None:
        """Who has which address."""
        text = await self.says("routes")
        rows = [line.split() for line in text.splitlines()[1:]]
        self.assertEqual(rows[0][:2], ["10.77.1.1", "alpha"])
        self.assertEqual(rows[1], ["10.77.1.2", "bravo", "https://bravo:4567"])
        routes = json.loads(await self.says("routes", "-o", "json"))["routes"]
        self.assertEqual(routes, {row[0]: row[1] for row in rows})

    async def test_colours(self) -> None:
        """On a terminal there are colours, unless somebody has said no."""
        line = ["status", "--socket", str(self.standing.path)]
        for said, coloured in (("", True), ("1", False)):
            environ = {"NO_COLOR": said}
            result = await deferToThread(CliRunner().invoke, main, line, env=environ, color=True)
            self.assertEqual("\x1b[" in result.output, coloured)

    async def test_graph(self) -> None:
        """Who is linked with whom, also nodes whose name is not known yet."""
        lines = (await self.says("graph")).splitlines()
        self.assertEqual(lines[0], "alpha  10.77.1.1  linked with bravo, charlie")
        self.assertEqual(lines[1], "bravo  10.77.1.2  linked with all 3 others")
        self.assertEqual(lines[3].split(), ["99999999", "linked", "with", "bravo"])
        dot = await self.says("graph", "--dot")
        self.assertEqual((dot.count(" -- "), dot.count("label=")), (4, 4))
        self.assertNotIn("left out", dot + "".join(lines))

    async def test_too_many_links(self) -> None:
        """That some are not told is said."""
        self.standing.is_whole = False
        for options in ((), ("--dot",)):
            self.assertIn(
                "left out", (await self.says("graph", *options)).splitlines()[-1 - len(options)]
            )

    async def test_names_in_a_graph(self) -> None:
        """A name that a peer chose stays inside its label, whatever it is made of."""
        first, second = self.standing.now.peers
        record = replace(first.record, name='b"];evil[x="\\n\\')
        self.standing.now = replace(
            self.standing.now, peers=(replace(first, record=record), second)
        )
        dot = await self.says("graph", "--dot")
        self.assertIn(r'[label="b\"];evil[x=\"\\n\\\n10.77.1.2"];', dot)
        quoted = r'"(?:[^"\\]|\\.)*"'
        for line in dot.splitlines()[1:-1]:
            self.assertRegex(line, rf"^  {quoted} (\[label={quoted}\]|-- {quoted});$")

    async def test_events(self) -> None:
        """What happened, with the last ones only if so wanted."""
        for number in range(3):
            self.standing.log.info("linked with {peer}", event="linked", peer=f"node{number}")
        self.standing.log.debug("a detail", event="detail")
        lines = (await self.says("events", "-n", "2")).splitlines()
        self.assertEqual(
            [line[9:] for line in lines], [f"info  link    linked with node{n}" for n in "12"]
        )


class Closer(unittest.TestCase):
    """`tunmesh ping`, `explain` and `capture`, as far as they are the node's; the rest is real."""

    def setUp(self) -> None:
        self.standing = Standing(self)
        self.client = Client(self.standing.path)

    async def asked(self, method: Callable[[str], Any], page: str) -> Any:
        return await deferToThread(method, page)

    async def test_ping(self) -> None:
        """The round trip of one link, or that there was no answer."""
        page = f"/v1/ping?node={self.standing.now.peers[0].record.id}"
        self.assertEqual(await self.asked(self.client.post, page), {"rtt": 0.0004})
        self.standing.rtt = None
        self.assertEqual(await self.asked(self.client.post, page), {"rtt": None})

    async def test_wrong_questions(self) -> None:
        """A question that makes no sense is answered with what would."""
        for method, page, why in (
            (self.client.post, "/v1/ping?node=nobody", "no node with the id 'nobody' is linked"),
            (self.client.get, "/v1/explain?source=a&destination=b", "'a' does not appear to be"),
            (self.client.get, "/v1/capture?port=x", "port must be a number, 0 or more"),
            (self.client.get, "/v1/capture?protocol=ip", "protocol must be one of icmp, tcp"),
            (self.client.get, "/v1/events?since=-1", "since must be a number, 0 or more"),
            (self.client.get, "/v2/status", "it answers 404: another version of tunmesh?"),
            (self.client.get, "/v1/drain", "it answers 405"),
        ):
            with self.assertRaises(OperatorError) as caught:
                await self.asked(method, page)
            self.assertIn(why, str(caught.exception))
        self.assertEqual(self.standing.drained, 0)

    async def test_explain(self) -> None:
        """The steps, and those of the last drops that are like it."""
        drops = self.standing.drops
        drops.append(Dropped(99.0, "no_route", None, ipv4(6, PORTS)))
        drops.append(Dropped(99.5, "spoofed_source", "bravo", ipv4(17, PORTS)))
        drops.append(Dropped(99.5, "malformed", "bravo", b"garbage"))
        result = await command(self.standing.path, "explain", *FOUR, "tcp", "443")
        self.assertEqual(result.exit_code, 2)
        *_, last = result.output.splitlines()
        self.assertEqual(last, "dropped 1.0 s ago (no_route): tcp 10.77.0.1:5000 > 10.77.0.2:443")
        self.assertNotIn("spoofed_source):", result.output)

    async def test_capture_of_one_node(self) -> None:
        """The packets of one node, by its name or its id."""
        bravo, charlie = self.standing.now.peers
        for peer in (charlie.record.name, charlie.record.id):
            out = BytesIO()
            copying = deferToThread(self.client.copy, f"/v1/capture?peer={peer}", out)
            while not self.standing.taps:
                await _turn()
            (tap,) = self.standing.taps
            for each in (bravo, charlie):
                tap(each, True, [bytes(10) + ipv4(6, PORTS)])
            while b"charlie" not in out.getvalue():
                await _turn()
            self.standing.hang_up()
            await copying
            self.assertNotIn(b"bravo", out.getvalue())

    async def test_ambiguous_name(self) -> None:
        """A name that two nodes have is refused with the addresses and ids of both, also when one
        of the two is this node itself."""
        status = self.standing.now
        bravo, charlie = status.peers
        for peers, name, addresses in (
            (
                (bravo, replace(charlie, record=replace(charlie.record, name="bravo"))),
                "bravo",
                bravo,
            ),
            ((replace(bravo, record=replace(bravo.record, name="alpha")), charlie), "alpha", bravo),
        ):
            self.standing.now = replace(status, peers=peers)
            for arguments in (("ping", name), ("capture", "--peer", name)):
                result = await command(self.standing.path, *arguments)
                self.assertEqual(result.exit_code, 1)
                self.assertIn(f"{name}: 2 nodes have this name, ", result.output)
                self.assertIn(addresses.record.id, result.output)

    async def test_capture(self) -> None:
        """Packets as they pass, those that are wanted, with their peers as interfaces."""
        out = BytesIO()
        copying = deferToThread(self.client.copy, "/v1/capture?protocol=tcp&host=10.77.0.1", out)
        while not self.standing.taps:
            await _turn()
        bravo, charlie = self.standing.now.peers
        (tap,) = self.standing.taps
        first, second = (bytes(10) + ipv4(6, PORTS + extra) for extra in (b"", b"more"))
        tap(bravo, True, [first, bytes(10) + ipv4(17, PORTS)])
        tap(charlie, False, [memoryview(second), b""])
        while not out.getvalue().endswith(struct.pack("<I", 88)):
            await _turn()
        self.standing.hang_up()
        await copying
        self.assertEqual(self.standing.taps, set())
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


def pcapng_blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each block; both of its lengths must be right."""
    while data:
        kind, length = struct.unpack_from("<II", data)
        assert data[length - 4 : length] == struct.pack("<I", length)
        assert length % 4 == 0
        yield kind, data[8 : length - 4]
        data = data[length:]


class Streams(unittest.TestCase):
    """Answers that go on until the client hangs up."""

    def setUp(self) -> None:
        self.standing = Standing(self)
        reports = self.standing.reports
        self.site = control.site(self.standing, self.standing.drain, reports, Clock())

    def ask(self, page: str, method: str = "GET") -> tuple[Connection, bytes]:
        """A connection to the site, in memory, and how the answer begins."""
        connection = Connection(self.site.buildProtocol(None))
        return connection, connection.say(f"{method} {page} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    def test_bounded(self) -> None:
        """Events that are followed and captures are bounded together, and who is refused is told
        why; the other pages answer, and so does the next stream when one has ended."""
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
        """The head of a capture ends, and nothing is captured for it."""
        connection, answer = self.ask("/v1/capture", "HEAD")
        self.assertIn(b" 200 ", answer)
        self.assertTrue(connection.transport.disconnecting)
        self.assertEqual(self.standing.taps, set())


class TheSocket(unittest.TestCase):
    """The file itself."""

    def setUp(self) -> None:
        self.standing = Standing(self)

    def test_mode(self) -> None:
        """Nobody else may connect, whatever the umask; the directory is made."""
        status = self.standing.path.stat()
        self.assertTrue(stat.S_ISSOCK(status.st_mode))
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o600)

    async def test_links_are_not_followed(self) -> None:
        """Nothing is done to the socket by its name once it is made: where others can write to the
        directory, the name may lead elsewhere by then."""
        victim = self.standing.directory / "victim"
        victim.write_text("mine")
        victim.chmod(0o644)
        self.addCleanup(victim.unlink)
        path = self.standing.directory / "new" / "swapped.sock"

        class Swapped(socket.socket):
            def bind(self, address: Any, /) -> None:
                super().bind(address)
                path.unlink()
                path.symlink_to(victim)

        self.patch(socket, "socket", Swapped)
        site = self.standing.port.factory  # type: ignore[attr-defined]
        port: Any = unix_port.listen(reactor, path, site)
        await port.stopListening()
        self.assertEqual(stat.S_IMODE(victim.stat().st_mode), 0o644)
        self.assertEqual(stat.S_IMODE(path.parent.stat().st_mode), 0o755)
        path.parent.rmdir()

    def refused(self, path: Path) -> str:
        site = self.standing.port.factory  # type: ignore[attr-defined]
        error = self.assertRaises(OperatorError, unix_port.listen, reactor, path, site)
        return str(error)

    def test_two_nodes(self) -> None:
        """The socket of another node that lives is left alone."""
        self.assertIn("another node listens there", self.refused(self.standing.path))
        self.assertTrue(self.standing.path.exists())

    def test_nobody_accepts(self) -> None:
        """Whoever listens there and takes nobody in does not keep the node from starting."""
        path = self.standing.directory / "busy.sock"
        with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
            busy.bind(str(path))
            self.addCleanup(path.unlink)
            busy.listen(0)
            first.connect(str(path))
            self.assertIn("another node listens there", self.refused(path))

    def test_something_else(self) -> None:
        """A file that is no socket is left alone."""
        file = self.standing.directory / "file"
        file.write_text("mine")
        self.addCleanup(file.unlink)
        self.assertIn("not a socket", self.refused(file))
        self.assertEqual(file.read_text(), "mine")

    async def test_left_behind(self) -> None:
        """The socket of a node that was killed is taken over."""
        path = self.standing.directory / "old.sock"
        with socket.socket(socket.AF_UNIX) as old:
            old.bind(str(path))
        site = self.standing.port.factory  # type: ignore[attr-defined]
        port: Any = unix_port.listen(reactor, path, site)
        await port.stopListening()
        self.assertFalse(path.exists())

    async def test_nobody_there(self) -> None:
        """A command that finds no node says where it looked, in a line."""
        result = await command(self.standing.directory / "none.sock", "status")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("no node answers at", result.output)
        self.assertEqual(result.output.count("\n"), 1)


class Waiting(unittest.TestCase):
    """`tunmesh wait`."""

    def setUp(self) -> None:
        self.standing = Standing(self)

    async def test_met(self) -> None:
        """It ends at once when everything is as wanted."""
        wanted = ["--for", "tun", "--for", "ready", "--for", "peers=2", "--for", "10.77.1.3"]
        result = await command(self.standing.path, "wait", *wanted)
        self.assertEqual((result.exit_code, result.output), (0, ""))

    async def test_in_time(self) -> None:
        """It ends when what it waits for happens, as soon as the node says that something did."""
        status = self.standing.now
        self.standing.now = replace(status, peers=())
        following = self.standing.recent.listeners
        result = command(self.standing.path, "wait", "--for", "peers=2")
        while not following:
            await _turn()
        self.standing.now = status
        self.standing.log.info("linked", event="linked")
        self.assertEqual((await result).exit_code, 0)

    async def test_too_late(self) -> None:
        """It gives up when it is told to, and says what was missing."""
        result = await command(self.standing.path, "wait", "--for", "10.77.1.9", "--timeout", "0")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("waited 0 s for 10.77.1.9 in vain", result.output)

    async def test_how_far(self) -> None:
        """It says how far it is, whenever that changes, and at the end."""
        status = self.standing.now
        self.standing.now = replace(status, peers=())
        following = self.standing.recent.listeners
        result = command(
            self.standing.path, "wait", "--for", "peers=5", "--for", "ready", "--timeout", "1.5"
        )
        while not following:
            await _turn()
        self.standing.now = status
        self.standing.log.info("linked", event="linked")
        first, second, last = (await result).stderr.splitlines()
        self.assertEqual(first, "waiting for peers=5: linked with 0 of 5")
        self.assertEqual(second, "waiting for peers=5: linked with 2 of 5")
        self.assertIn("tunmesh: waited 1.5 s for peers=5 in vain: linked with 2 of 5", last)

    async def test_no_node(self) -> None:
        """It waits for a node to come, too."""
        path = self.standing.directory / "none.sock"
        result = await command(path, "wait", "--for", "ready", "--timeout", "0")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("no node answers at", result.output)

    async def test_nonsense(self) -> None:
        """What it cannot wait for is refused at once."""
        for wanted in ("peers=", "peers=-1", "rain", "10.77.1.0/24"):
            result = await command(self.standing.path, "wait", "--for", wanted)
            self.assertEqual(result.exit_code, 2)
            self.assertIn("is not tun, ready, peers=N or an IP address", result.output)


def _turn() -> Deferred[None]:
    """The reactor has turned once more."""
    turned: Deferred[None] = Deferred()
    reactor.callLater(0.01, turned.callback, None)
    return turned

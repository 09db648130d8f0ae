"""The live page: what it shows, and to whom. `make test-browser` tries it in a browser."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import replace
from typing import Any

from twisted.internet import reactor as trial_reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from twisted.trial import unittest
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.api.test_public import Connection, Response
from tests.observe.test_metrics import a_status, sample_of
from tests.support.control import HELD
from tunmesh.api import read_only
from tunmesh.api.page import resource
from tunmesh.errors import OperatorError
from tunmesh.logs.observers import RecentEvents
from tunmesh.observe.samples import History
from tunmesh.status.multicast import GroupStatus, MulticastStatus
from tunmesh.status.peers import DialStatus, KnownNode

EPOCH = 1_795_644_500.0
OURS = "localhost:8600"
FILES = ("/page.css", "/main.js", "/picture.js", "/tables.js", "/figures.js", "/icon.svg")
DATA = ("/v1/status", "/v1/mesh", "/v1/events", "/v1/stream")
NASTY = "<script>alert(1)</script>\"'&"


class Case(unittest.SynchronousTestCase):
    """The site of a node, in memory."""

    def setUp(self) -> None:
        self.status = replace(a_status(), automatic=())
        self.known_nodes: tuple[KnownNode, ...] = ()
        self.crowds: list[float] = []  # that the node was asked for
        self.recent = RecentEvents()
        self.log = Logger(namespace="tunmesh", observer=LogPublisher(self.recent))
        self.clock = Clock()
        self.history = History()
        reports = read_only.Reports(
            lambda: self.status,
            self.nodes_of,
            self.recent,
            self.history,
            lambda: EPOCH,
        )
        self.site = resource.site(reports, self.clock)

    def nodes_of(self, crowd: float) -> tuple[KnownNode, ...]:
        self.crowds.append(crowd)
        return self.known_nodes

    def connect(self) -> Connection:
        return Connection(self.site.buildProtocol(None))

    def ask(self, path: str, method: str = "GET", host: str = OURS, **headers: str) -> Response:
        """The answer to a request with these headers (_ stands for -)."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return self.connect().send("\r\n".join([*lines, "", ""]).encode())

    def follow(self) -> Connection:
        """An open page; `heard` has what it was sent."""
        connection = self.connect()
        self.first = connection.say(f"GET /v1/stream HTTP/1.1\r\nHost: {OURS}\r\n\r\n".encode())
        return connection


def heard(data: bytes) -> list[tuple[str, Any]]:
    """The events that a stream sent, with their kind."""
    found = re.findall(rb"event: (\w+)\ndata: (.+)\n\n", data)
    return [(kind.decode(), json.loads(tree)) for kind, tree in found]


class Refusals(Case):
    """Requests that are refused, and that the page changes nothing."""

    def test_strange_hosts(self) -> None:
        """A name that was made to resolve to loopback is refused, for every page."""
        for host in (
            "evil.example",
            "evil.example:8600",
            "localhost.evil.example:8600",
            "127.0.0.1.evil.example",
            "192.0.2.1:8600",
            "localhost:8600@evil.example",
            "localhost:",
            "",
        ):
            for path in ("/", *FILES, *DATA):
                self.assertEqual(self.ask(path, host=host).code, 421, (host, path))

    def test_no_host(self) -> None:
        """A request without a host, or with two, is refused as well."""
        self.assertEqual(self.connect().send(b"GET / HTTP/1.0\r\n\r\n").code, 421)
        self.assertIn(self.ask("/", **{"Host": "evil.example"}).code, (400, 421))

    def test_our_hosts(self) -> None:
        """Every name of loopback is accepted, at any port, since it may be forwarded."""
        for host in ("localhost", "LOCALHOST:8600", "127.0.0.1:9999", "[::1]:8600", "[::1]"):
            self.assertEqual(self.ask("/v1/status", host=host).code, 200, host)

    def test_other_sites(self) -> None:
        """A page from elsewhere is refused, even one from another port of this machine."""
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "http://localhost:3000"},
            {"Origin": "null"},
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
            {"Origin": f"http://{OURS}", "Sec_Fetch_Site": "cross-site"},
        ):
            for path in (*FILES, *DATA):
                self.assertEqual(self.ask(path, **headers).code, 403, (headers, path))

    def test_our_site(self) -> None:
        """The page itself may ask, and so may an address that is typed in; a link from elsewhere
        may lead to the page."""
        self.assertEqual(self.ask("/v1/status", Sec_Fetch_Site="same-origin").code, 200)
        self.assertEqual(self.ask("/v1/status", Sec_Fetch_Site="none").code, 200)
        self.assertEqual(self.ask("/v1/status", Origin=f"http://{OURS}").code, 200)
        self.assertEqual(self.ask("/", Sec_Fetch_Site="cross-site").code, 200)

    def test_reading_only(self) -> None:
        """The page is for reading only; what the control socket can do is not found here."""
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"):
            for path in ("/", "/v1/drain", *DATA):
                response = self.ask(path, method)
                self.assertEqual(response.code, 405, (method, path))
                self.assertEqual(response.headers["allow"], "get, head")
        self.assertEqual(self.ask("/v1/drain").code, 404)

    def test_headers(self) -> None:
        """Every answer, also a refusal, has the headers that restrict what a browser does with
        it."""
        for path, host in (("/", OURS), ("/main.js", OURS), ("/none", OURS), ("/", "evil.example")):
            headers = self.ask(path, host=host).headers
            for name, value in resource.HEADERS.items():
                self.assertEqual(headers[name], value.lower(), path)
            self.assertNotIn("server", headers)

    def test_policy(self) -> None:
        """Nothing is inline or from elsewhere: the policy would block it."""
        self.assertIn("default-src 'none'", resource.HEADERS["content-security-policy"])
        self.assertNotIn("unsafe", resource.HEADERS["content-security-policy"])
        html = self.ask("/").body.decode()
        self.assertNotRegex(html, r"<script(?![^>]*\bsrc=\"/)|<style|\son\w+=|\bstyle=|https?://")
        for path in FILES:
            source = self.ask(path).body.decode().replace("http://www.w3.org/2000/svg", "")
            self.assertNotRegex(source, r"https?://|innerHTML|\beval\b|@import", path)


class Shown(Case):
    """What is on the page before any script runs."""

    def html(self) -> str:
        return self.ask("/").body.decode()

    def text(self) -> str:
        return " ".join(re.sub(r"<[^>]+>", " ", self.html()).split())

    def test_a_mesh(self) -> None:
        """This node, its peers with their figures, drops and events."""
        self.log.info("linked with {peer}", event="linked", peer="bravo")
        text = self.text()
        for part in (
            "alpha 10.77.1.1/24 ready up 1m30s",
            "Linked 2 of 5",
            "bravo 10.77.1.2 out, 1m40s TCP 1.00ms 0% 0B/s 0B/s 0B 0 0.1.0",
            "charlie 10.77.1.3 out, 1m40s UDP 41ms 0.1% 0B/s",
            "Names below mesh, at 10.77.255.254",
            "answered 50 nxdomain 51",
            "packets: no_route 30",
            "connections: bad_proof 40",
            "linked with bravo",
        ):
            self.assertIn(part, text)

    def test_groups(self) -> None:
        """Who is in which multicast group; without any there is no table."""
        self.assertIn('id="multicast" hidden', self.html())
        nodes = (("bravo", "all"), ("charlie", "10.77.1.2"))
        groups = (GroupStatus("239.1.2.3", "all", nodes),)
        carried = MulticastStatus((4,), groups, 3, 5, 0, left_out=False)
        self.status = replace(self.status, multicast=carried)
        self.assertIn("239.1.2.3 this node, bravo, charlie (from 10.77.1.2)", self.text())
        self.assertNotIn('id="multicast" hidden', self.html())

    def test_problems(self) -> None:
        """Problems are at the top, in words."""
        dial = DialStatus("delta", False, "192.0.2.4:4567", 3, "Connection refused", 4.2)
        bad = replace(self.status.ready[0], ok=False, reason="not linked to any node")
        self.status = replace(self.status, ready=(bad,), dials=(dial,))
        text = self.text()
        self.assertIn("not ready", text)
        self.assertLess(text.index("not linked to any node"), text.index("Linked"))
        self.assertIn("delta 192.0.2.4:4567 Connection refused", text)

    def test_automatic_addresses(self) -> None:
        """What the node has chosen is shown when it has it; before, how far it has come."""
        coming = replace(HELD, version=6, state="claiming", address="fd77::1/64")
        self.status = replace(self.status, automatic=(HELD, coming))
        self.assertIn("alpha 10.77.1.1/24, claiming fd77::1/64 ready", self.text())
        coming = replace(coming, state="joining", address="")
        self.status = replace(self.status, automatic=(HELD, coming))
        self.assertIn("alpha 10.77.1.1/24, joining ready", self.text())

    def test_names_are_text(self) -> None:
        """What a peer says of itself is shown as text, whatever it is."""
        first, second = self.status.peers
        record = replace(first.record, name=NASTY, version=NASTY)
        dial = DialStatus(NASTY, False, NASTY, 3, NASTY, 4.2)
        self.status = replace(
            self.status,
            record=replace(self.status.record, name=NASTY),
            peers=(replace(first, record=record), second),
            dials=(dial,),
        )
        self.log.info("linked with {peer}", event="linked", peer=NASTY)
        html = self.html()
        self.assertNotIn("<script>", html)
        self.assertNotIn("\"'&<", html)
        self.assertEqual(html.count("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;"), 11)

    def test_head(self) -> None:
        """HEAD is answered with the head of each page, and ends."""
        for path in ("/", *FILES, *DATA, "/v1/events?follow=1"):
            response = self.ask(path, "HEAD")
            self.assertEqual((response.code, response.body), (200, b""), path)

    def test_types(self) -> None:
        """Every file has its content type, since browsers are told not to guess."""
        self.assertEqual(
            self.ask("/main.js").headers["content-type"], "text/javascript; charset=utf-8"
        )
        self.assertEqual(self.ask("/page.css").headers["content-type"], "text/css; charset=utf-8")
        for path in DATA[:2]:
            self.assertEqual(self.ask(path).headers["content-type"], "application/json")


class Live(Case):
    """The stream that keeps a page live."""

    def test_from_the_start(self) -> None:
        """It begins with the node, its time series, past events and the status."""
        self.history.sample(sample_of(self.status))
        self.log.info("linked with {peer}", event="linked", peer="bravo")
        self.follow()
        (_, hello), (_, log), (_, status) = events = heard(self.first)
        self.assertEqual([kind for kind, _ in events], ["hello", "log", "status"])
        self.assertEqual(hello["id"], self.status.record.id)
        bravo = self.status.peers[0].record.id
        self.assertEqual(hello["series"][bravo], {"rx": [0], "tx": [0], "rtt": [0.001]})
        self.assertEqual((log["text"], log["sequence"]), ("linked with bravo", 1))
        self.assertEqual(status["report"]["node"]["name"], "alpha")
        self.assertEqual(len(status["mesh"]["nodes"]), 1)

    def test_from_then_on(self) -> None:
        """The status is sent every two seconds, events at once, until the page is closed."""
        connection = self.follow()
        self.clock.advance(2)
        self.log.info("ready", event="ready")
        self.clock.advance(2)
        kinds = [kind for kind, _ in heard(connection.transport.value())]
        self.assertEqual(kinds, ["hello", "status", "status", "log", "status"])
        connection.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.recent.listeners, self.clock.getDelayedCalls()), (set(), []))

    def test_slow_page(self) -> None:
        """Nothing is written to a page that does not read, so nothing piles up."""
        connection = self.follow()
        channel: Any = connection.transport.producer
        channel.pauseProducing()
        connection.transport.clear()
        self.clock.advance(2)
        self.log.info("ready", event="ready")
        self.assertEqual(connection.transport.value(), b"")

    def test_many_pages(self) -> None:
        """The number of streams is limited; when one is closed another may be opened."""
        pages = [self.follow() for _ in range(resource.MOST_STREAMS)]
        self.assertEqual(self.ask("/v1/stream").code, 503)
        pages[0].protocol.connectionLost(Failure(ConnectionDone()))
        self.follow()
        self.assertEqual([kind for kind, _ in heard(self.first)], ["hello", "status"])

    def test_many_followers(self) -> None:
        """Followed events count as well."""

        def follow() -> bytes:
            return self.connect().say(
                f"GET /v1/events?follow=1 HTTP/1.1\r\nHost: {OURS}\r\n\r\n".encode()
            )

        for _ in range(resource.MOST_STREAMS - 1):
            self.assertIn(b" 200 ", follow())
        self.follow()
        self.assertIn(b" 503 ", follow())
        self.assertEqual(self.ask("/v1/stream").code, 503)
        self.assertEqual(self.ask("/v1/events").code, 200)
        self.assertEqual(self.ask("/v1/events?follow=1", "HEAD").code, 200)
        self.assertEqual(len(self.recent.listeners), resource.MOST_STREAMS)

    def test_large_mesh(self) -> None:
        """The node is asked for what can be drawn; that it leaves out links is sent, too."""
        other = KnownNode("2" * 32, None, (self.status.record.id,), is_whole=False)
        self.known_nodes = (other,)
        self.follow()
        sent = heard(self.first)[-1][1]["mesh"]
        self.assertEqual(self.crowds, [resource.CROWD])
        self.assertEqual(sent["links"], [sorted((self.status.record.id, other.id))])
        self.assertTrue(sent["links_left_out"])


class ThePort(unittest.TestCase):
    """Where it listens."""

    def setUp(self) -> None:
        self.reactor: Any = trial_reactor
        self.site = Site(Resource())

    def free(self) -> int:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
            return port

    async def test_loopback(self) -> None:
        """It listens on loopback and nowhere else."""
        ports: list[Any] = resource.listen(self.reactor, self.free(), self.site)
        hosts = [port.getHost().host for port in ports]
        for port in ports:
            await port.stopListening()
        self.assertIn(hosts, (["127.0.0.1", "::1"], ["127.0.0.1"]))

    def test_taken(self) -> None:
        """A port in use is named, with its key."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            error = self.assertRaises(OperatorError, resource.listen, self.reactor, port, self.site)
        self.assertEqual(
            str(error),
            f"admin/http_port: cannot listen at 127.0.0.1:{port}: Address already in use",
        )

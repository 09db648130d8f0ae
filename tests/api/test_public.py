"""What HTTPS answers on the mesh's port: HTTP as bytes in, bytes out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.trial import unittest

from tests.observe.test_metrics import a_status
from tunmesh.api.http import TIMEOUT
from tunmesh.api.public import site
from tunmesh.logs.observers import RecentEvents
from tunmesh.observe.health import Condition, judge
from tunmesh.observe.metrics import exposition
from tunmesh.status.health import Health

HEALTH = ("/livez", "/readyz", "/health")
LIVE = judge(Condition(1)).live
DEAD = judge(Condition(1, tun_lost="the tun is gone"))
LONELY = judge(Condition(0)).ready


@dataclass
class Response:
    code: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """A client of the site."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.transport = StringTransport()
        protocol.makeConnection(self.transport)

    def say(self, data: bytes) -> bytes:
        """What is answered to these bytes."""
        self.transport.clear()
        self.protocol.dataReceived(data)
        answer: bytes = self.transport.value()
        return answer

    def send(self, request: bytes) -> Response:
        head, _, body = self.say(request).partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return Response(int(first.split()[1]), headers, body)


LIVEZ = b"GET /livez HTTP/1.1\r\nHost: alpha\r\n\r\n"


class Case(unittest.SynchronousTestCase):
    """The site of a node, in memory."""

    def setUp(self) -> None:
        self.status = a_status()
        self.clock = Clock()

    def health(self) -> Health:
        return self.status.health

    def expose(self) -> bytes:
        return exposition(lambda: self.status, {}, False)()

    def connect(self, health: Callable[[], Health], metrics: bool = False) -> Connection:
        """A connection to a new site."""
        expose = self.expose if metrics else None
        return Connection(site(health, expose, self.clock).buildProtocol(None))

    def ask(
        self, path: str, method: str = "GET", metrics: bool = False, more: bytes = b""
    ) -> Response:
        """The answer to one request, with `more` after its first line and host."""
        connection = self.connect(self.health, metrics)
        request = f"{method} {path} HTTP/1.1\r\nHost: alpha\r\n".encode()
        return connection.send(request + (more or b"\r\n"))


class OrchestratorTests(Case):
    """For orchestrators."""

    def test_well(self) -> None:
        """A healthy node answers 200 everywhere, in JSON that is not to be cached."""
        for path in HEALTH:
            response = self.ask(path)
            self.assertEqual(response.code, 200)
            self.assertEqual(response.headers["content-type"], "application/json")
            self.assertEqual(response.headers["cache-control"], "no-store")
            self.assertEqual(json.loads(response.body)["status"], "ok")

    def test_alive_not_ready(self) -> None:
        """A lonely node is alive, and not ready."""
        self.status = replace(self.status, ready=LONELY)
        self.assertEqual([self.ask(path).code for path in HEALTH], [200, 503, 503])

    def test_dead(self) -> None:
        """A node without a tun is not alive."""
        self.status = replace(self.status, live=DEAD.live, ready=DEAD.ready)
        self.assertEqual([self.ask(path).code for path in HEALTH], [503, 503, 503])

    def test_one_word(self) -> None:
        """An answer is the code and one word, healthy or not: strangers get no reasons."""
        for live, ready, word in (
            (LIVE, self.status.ready, "ok"),
            (DEAD.live, LONELY, "unavailable"),
        ):
            self.status = replace(self.status, live=live, ready=ready)
            for path in HEALTH:
                self.assertEqual(json.loads(self.ask(path).body), {"status": word})

    def test_now(self) -> None:
        """Every request is answered with the current state."""
        for live, code in ((LIVE, 200), (DEAD.live, 503), (LIVE, 200)):
            self.status = replace(self.status, live=live)
            self.assertEqual(self.ask("/livez").code, code)

    def test_query(self) -> None:
        """A query changes nothing."""
        self.assertEqual(self.ask("/livez?verbose=1").code, 200)


class Metrics(Case):
    """For Prometheus."""

    def test_on(self) -> None:
        """If enabled, the page has the exposition, with its content type."""
        response = self.ask("/metrics", metrics=True)
        self.assertEqual((response.code, response.body), (200, self.expose()))
        self.assertEqual(
            response.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8"
        )

    def test_off(self) -> None:
        """If disabled, there is no such page."""
        self.assertEqual(self.ask("/metrics").code, 404)


class NothingElse(Case):
    """The port is open to strangers."""

    def test_paths(self) -> None:
        """Every other path is not found, also below and beside the pages."""
        for path in (
            "/",
            "/status",
            "/nodes",
            "/Livez",
            "/livez2",
            "/livez/extra",
            "/metrics/extra",
            "//livez",
            "/./livez",
            "/%2e%2e/etc/passwd",
            "/control/v1/health",
        ):
            self.assertEqual(self.ask(path, metrics=True).code, 404, path)

    def test_methods(self) -> None:
        """Only GET and HEAD are allowed; an answer to another method says so."""
        for path in (*HEALTH, "/metrics"):
            for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"):
                response = self.ask(path, method, metrics=True)
                self.assertEqual(response.code, 405, method)
                self.assertEqual(set(response.headers["allow"].split(", ")), {"get", "head"})

    def test_head(self) -> None:
        """HEAD is answered with the code and the length of GET, without a body."""
        for path in (*HEALTH, "/metrics"):
            head, get = (self.ask(path, method, metrics=True) for method in ("HEAD", "GET"))
            self.assertEqual((head.code, head.body), (200, b""))
            self.assertEqual(head.headers["content-length"], str(len(get.body)))
        self.status = replace(self.status, ready=LONELY)
        self.assertEqual(self.ask("/readyz", "HEAD").code, 503)

    def test_nobody_fills_the_log(self) -> None:
        """No request makes a line in the node's log."""
        recent = RecentEvents()
        globalLogPublisher.addObserver(recent)
        self.addCleanup(globalLogPublisher.removeObserver, recent)
        for method in ("GET", "HEAD", "POST", "BREW"):
            self.ask("/livez", method)
        self.assertEqual(recent.since(0), [])

    def test_anonymous(self) -> None:
        """No answer names the software."""
        for method, path in (
            ("GET", "/livez"),
            ("HEAD", "/livez"),
            ("GET", "/metrics"),
            ("POST", "/livez"),
            ("BREW", "/livez"),
            ("GET", "/"),
            ("OPTIONS", "*"),
        ):
            response = self.ask(path, method, metrics=True)
            self.assertNotIn("server", response.headers, (method, path))
            self.assertNotIn(b"twisted", response.body.lower())

    def test_garbage(self) -> None:
        """What is not HTTP is answered without naming the software, and the connection is
        closed."""
        for garbage in (b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"5:hello,\r\n\r\n", b"\x16\x03\x01\r\n"):
            connection = self.connect(self.health)
            self.assertNotIn(b"twisted", connection.say(garbage).lower())

    def test_members_are_not_named(self) -> None:
        """No answer says who is in the mesh, not even that of an unhealthy node."""
        status = self.status
        words = [word for peer in status.peers for word in _words(peer.record)]
        for ready in (status.ready, LONELY):
            self.status = replace(status, ready=ready)
            for path in (*HEALTH, "/metrics", "/", "/nowhere"):
                for method in ("GET", "POST"):
                    body = self.ask(path, method, metrics=True).body.decode()
                    for word in words:
                        self.assertNotIn(word, body)

    def test_failure(self) -> None:
        """A bug of ours is answered with a bare 500, and logged."""

        def broken() -> Health:
            raise RuntimeError("a secret")

        answer = self.connect(broken).say(LIVEZ)
        self.assertEqual(answer.split()[1], b"500")
        for word in (b"secret", b"RuntimeError", b"Traceback", b"Server:"):
            self.assertNotIn(word, answer)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class Bounds(Case):
    """A stranger cannot make the node hold much, or for long."""

    def test_body(self) -> None:
        """The body of a request is kept neither in memory nor on disk."""
        connection = self.connect(self.health)
        head = b"POST /livez HTTP/1.1\r\nHost: alpha\r\nContent-Length: 1000000\r\n\r\n"
        connection.say(head + bytes(500_000))
        for request in connection.protocol._channel.requests:
            self.assertEqual(request.content.seek(0, 2), 0)
            request.content.close()

    def test_one_request(self) -> None:
        """A connection is for one request: however many follow it, only the first is answered, and
        the answer says so."""
        connection = self.connect(self.health)
        answer = connection.say(LIVEZ * 1000)
        self.assertEqual(answer.count(b"HTTP/1.1 "), 1)
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.assertTrue(connection.transport.disconnecting)

    def test_small_body(self) -> None:
        """A request with a small body is answered like one without."""
        self.assertEqual(self.ask("/livez", more=b"Content-Length: 2\r\n\r\nhi").code, 200)

    def test_endless_head(self) -> None:
        """A connection on which the head of a request does not end is closed."""
        connection = self.connect(self.health)
        connection.say(b"GET /livez HTTP/1.1\r\n")
        sent = 0
        while not connection.transport.disconnecting and sent < 100_000:
            connection.say(b"X-Word: word\r\n")
            sent += 14
        self.assertLess(sent, 20_000)

    def test_idle(self) -> None:
        """A silent connection is closed."""
        connection = self.connect(self.health)
        self.clock.advance(TIMEOUT - 1)
        self.assertFalse(connection.transport.disconnecting)
        self.clock.advance(2)
        self.assertTrue(connection.transport.disconnecting)


def _words(record: Any) -> list[str]:
    addresses = [str(address.ip) for address in record.addresses]
    return [record.id, record.name, record.url, *addresses]

"""What is reported to a supervisor such as systemd, over real datagram sockets."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.trial import unittest

from tests.observe.test_metrics import a_status
from tests.support import netns
from tests.support.places import short_directory
from tests.support.realnode import Ground, reactor
from tunmesh.observe.health import Condition, judge
from tunmesh.observe.systemd import PERIOD, Supervisor

PID = 1234


class SupervisorTests(unittest.SynchronousTestCase):
    """A socket like systemd's, and a node that reports to it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.status = a_status()
        self.path = str(short_directory(self) / "notify")
        self.socket = self.listen(self.path)

    def listen(self, address: str) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.addCleanup(made.close)
        made.bind(address)
        return made

    def supervised(self, **environ: str) -> Supervisor:
        return Supervisor(self.clock, {"NOTIFY_SOCKET": self.path, **environ}, PID)

    def told(self) -> list[str]:
        """The datagrams that arrived."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def test_life(self) -> None:
        """It hears that the node is up and how it is, when that changes, and that it leaves."""
        supervisor = self.supervised()
        self.assertEqual(self.told(), [])
        supervisor.started(lambda: self.status.health)
        self.assertEqual(self.told(), ["READY=1", "STATUS=linked to 2 nodes"])
        self.clock.pump([PERIOD] * 3)
        self.assertEqual(self.told(), [])
        self.status = replace(self.status, ready=judge(Condition(0)).ready)
        self.clock.advance(PERIOD)
        self.assertEqual(self.told(), ["STATUS=not linked to any node"])
        supervisor.stopping()
        self.assertEqual(self.told(), ["STOPPING=1\nSTATUS=leaving the mesh"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_reload(self) -> None:
        """A reload has a beginning, with its time, and an end."""
        supervisor = self.supervised()
        self.clock.advance(12.5)
        supervisor.reloading()
        supervisor.reloaded()
        self.assertEqual(self.told(), ["RELOADING=1\nMONOTONIC_USEC=12500000", "READY=1"])

    def test_watchdog(self) -> None:
        """A watchdog is notified twice in its interval; not if it is meant for another process."""
        self.supervised(WATCHDOG_USEC="3000000", WATCHDOG_PID=str(PID)).started(
            lambda: self.status.health
        )
        self.assertEqual(self.told(), ["READY=1", "WATCHDOG=1\nSTATUS=linked to 2 nodes"])
        self.clock.pump([1.5] * 4)
        self.assertEqual(self.told(), ["WATCHDOG=1"] * 4)
        for environ in (
            {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"},
            {"WATCHDOG_USEC": "0"},
            {"WATCHDOG_USEC": "often"},
        ):
            self.supervised(**environ).started(lambda: self.status.health)
            self.assertEqual(self.told(), ["READY=1", "STATUS=linked to 2 nodes"])

    def test_abstract_name(self) -> None:
        """A leading @ stands for an abstract name."""
        self.path = f"@tunmesh-test-{os.getpid()}"
        self.socket = self.listen(self.path.replace("@", "\0"))
        self.supervised().failed("no tun")
        self.assertEqual(self.told(), ["STATUS=no tun"])

    def test_nobody(self) -> None:
        """Without the variable, with an unusable one, or after the supervisor has gone, nothing is
        sent and nothing fails."""
        gone = self.supervised()
        self.socket.close()
        for supervisor in (
            gone,
            Supervisor(self.clock, {}, PID),
            self.supervised(NOTIFY_SOCKET="vsock:2:1234"),
            self.supervised(NOTIFY_SOCKET="/nowhere/notify"),
        ):
            supervisor.started(lambda: self.status.health)
            supervisor.stopping()

    def test_for_nobody_else(self) -> None:
        """The variables are removed from the environment."""
        environ = {"NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": "x", "WATCHDOG_PID": "1", "A": "b"}
        Supervisor(self.clock, environ, PID)
        self.assertEqual(environ, {"A": "b"})


class Ear(DatagramProtocol):
    """Receives datagrams; a test can wait for one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._awaited: list[tuple[str, Deferred[None]]] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.lines += datagram.decode().splitlines()
        for line, heard in list(self._awaited):
            if any(each.startswith(line) for each in self.lines):
                self._awaited.remove((line, heard))
                heard.callback(None)

    def heard(self, line: str) -> Deferred[None]:
        """Fires when a datagram that begins like this arrives, from now on."""
        self.lines.clear()
        answer: Deferred[None] = Deferred()
        self._awaited.append((line, answer))
        return answer


class RealNodeTests(unittest.TestCase):
    """A real node under a supervisor."""

    skip = netns.skip_reason()

    async def test_life(self) -> None:
        """A node tells it all, over a socket that only root can reach, when it is root no more."""
        ground = Ground(self)
        closed = ground.directory / "root"
        closed.mkdir(0o700)
        path = str(closed / "notify")
        ear = Ear()
        port = reactor.listenUNIXDatagram(path, ear)
        self.addCleanup(port.stopListening)
        ready = ear.heard("STATUS=there is nobody to bootstrap from: first node")
        environ = {**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}
        node = ground.run(1, "--config", str(ground.config()), environ=environ)
        await ready
        self.assertEqual(ear.lines[0], "READY=1")
        await ear.heard("WATCHDOG=1")
        await ear.heard("WATCHDOG=1")
        reloaded = ear.heard("READY=1")
        node.signal("HUP")
        await reloaded
        self.assertIn("RELOADING=1", ear.lines)
        stopping = ear.heard("STOPPING=1")
        node.signal("TERM")
        await stopping
        self.assertEqual(await node.ended, 0)

    async def test_failed_start(self) -> None:
        """The reason why a node cannot start is reported, too."""
        ground = Ground(self)
        path = str(ground.directory / "notify")
        ear = Ear()
        self.addCleanup(reactor.listenUNIXDatagram(path, ear).stopListening)
        with ground.namespace():
            taken = socket.create_server(("", 4567))
        self.addCleanup(taken.close)
        environ = {**os.environ, "NOTIFY_SOCKET": path}
        told = ear.heard("STATUS=control_api/listen_port: cannot listen")
        node = ground.run(1, "--config", str(ground.config()), environ=environ)
        await told
        self.assertEqual(await node.ended, 1)
        self.assertEqual(len(ear.lines), 1)

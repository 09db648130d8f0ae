"""What the clients of a web site may have of a node: slots, time, and a share of the processor."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial import unittest

from tunmesh.api.admission import Admission
from tunmesh.tls.admission import MAX_CLIENTS, MAX_VISIT
from tunmesh.tls.cpu_share import BURST, SHARE, CpuTimes


class Page(Protocol):
    """Takes as long to answer as the request says, in seconds."""

    def dataReceived(self, data: bytes) -> None:
        self.factory.case.worked += float(data)
        self.transport.write(b"answer")  # type: ignore[union-attr]


class Port:
    """Accepts connections, or does not."""

    is_open = True

    def pauseProducing(self) -> None:
        self.is_open = False

    def resumeProducing(self) -> None:
        self.is_open = True


class AdmissionTests(unittest.SynchronousTestCase):
    """A site with two ports."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.worked = 0.0
        site = Factory.forProtocol(Page)
        site.case = self  # type: ignore[attr-defined]
        self.admission = Admission(
            self.clock, site, CpuTimes(lambda: self.worked, lambda: 0.0), MAX_VISIT
        )
        self.ports = [Port(), Port()]
        self.admission.opened(*self.ports)

    def connect(self, host: str) -> tuple[Any, StringTransport] | None:
        protocol = self.admission.buildProtocol(IPv4Address("TCP", host, 5000))
        if protocol is None:
            return None
        transport = StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport

    def let_in(self, host: str) -> tuple[Any, StringTransport]:
        visit = self.connect(host)
        assert visit is not None
        return visit

    def test_slots(self) -> None:
        """When all slots are taken, a new client gets one of the source that has most; that source
        gets no more, until one of its own connections ends."""
        visits = [self.let_in("192.0.2.1") for _ in range(MAX_CLIENTS)]
        self.assertIsNone(self.connect("192.0.2.1"))
        self.let_in("192.0.2.2")
        self.assertTrue(visits[0][1].disconnected)
        self.assertFalse(visits[1][1].disconnected)
        visits[1][0].connectionLost(Failure(connectionDone.value))
        self.let_in("192.0.2.1")
        self.assertIsNone(self.connect("192.0.2.1"))

    def test_visit(self) -> None:
        """No connection lasts for ever, however busy it is; one that ends leaves no timer."""
        protocol, transport = self.let_in("192.0.2.1")
        self.clock.advance(MAX_VISIT - 1)
        protocol.dataReceived(b"0")
        self.assertFalse(transport.disconnected)
        self.clock.advance(2)
        self.assertTrue(transport.disconnected)
        protocol, _ = self.let_in("192.0.2.1")
        protocol.connectionLost(Failure(connectionDone.value))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_share(self) -> None:
        """After a burst of work no port accepts connections until it is paid for; a little work
        does not count."""
        protocol, transport = self.let_in("192.0.2.1")
        protocol.dataReceived(b"%f" % (BURST / 2))
        self.assertTrue(all(port.is_open for port in self.ports))
        protocol.dataReceived(b"1")
        self.assertEqual(transport.value(), b"answeranswer")
        self.assertFalse(any(port.is_open for port in self.ports))
        self.clock.advance(1 / SHARE - 0.5)
        self.assertFalse(any(port.is_open for port in self.ports))
        self.clock.advance(1)
        self.assertTrue(all(port.is_open for port in self.ports))

    def test_failure(self) -> None:
        """Work that fails counts as well."""
        protocol, _ = self.let_in("192.0.2.1")
        self.assertRaises(ValueError, protocol.dataReceived, b"nonsense")
        self.assertTrue(all(port.is_open for port in self.ports))

"""The attacker in the middle: he holds the mesh's certificate and its key, but not the secret."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tunmesh import tls
from tunmesh.bootstrap import GroupSettings
from tunmesh.testing import PORT, MemoryReactor, Mesh, credentials

ATTACKER = "192.0.2.66"


@implementer(IHandshakeListener)
class Splice(Protocol):
    """One of two TLS sessions; what comes out of one goes into the other."""

    transport: Any
    other: Splice | None = None

    def __init__(self, attack: Attack) -> None:
        self.attack = attack
        self.waiting = b""

    def handshakeCompleted(self) -> None:
        self.attack.established(self)

    def dataReceived(self, data: bytes) -> None:
        self.attack.seen.append(data)
        if self.other is None:
            self.waiting += data
        else:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.other is not None:
            self.other.transport.loseConnection()


class Attack(Factory):
    """Sits at ATTACKER, shows the mesh's own certificate, and passes everything on to a victim."""

    noisy = False

    def __init__(self, mesh: Mesh, victim: str) -> None:
        self.reactor = MemoryReactor(mesh.network, ATTACKER)
        self.victim = victim
        self.near: Splice | None = None
        self.seen: list[bytes] = []
        self.spliced = 0
        self.reactor.listenTCP(
            PORT, tls.server_factory(tls.Identity(credentials()), self, self.reactor)
        )

    def buildProtocol(self, addr: object) -> Splice:
        return Splice(self)

    def established(self, side: Splice) -> None:
        if self.near is None:
            self.near = side
            endpoint = HostnameEndpoint(self.reactor, self.victim.encode(), PORT)
            endpoint.connect(
                tls.client_factory(tls.Identity(credentials()), self.victim, self, self.reactor)
            )
            return
        self.near.other, side.other = side, self.near
        side.transport.write(self.near.waiting)
        self.near = None
        self.spliced += 1


class SpliceTests(SynchronousTestCase):
    """Two honest nodes that are joined by somebody else are not linked."""

    def test_two_tls_sessions_are_not_one(self) -> None:
        """Passing every byte on faithfully between two TLS sessions authenticates nobody: the
        proofs are bound to the session that they are made for."""
        mesh = Mesh(groups=())
        a = mesh.add("a")
        attack = Attack(mesh, a.host)
        b = mesh.add("b", groups=(GroupSettings("trap", ((ATTACKER, PORT),)),))
        mesh.advance(60)
        self.assertGreater(attack.spliced, 3)
        self.assertIn(b"P", b"".join(attack.seen))  # it came as far as b's proof
        self.assertEqual((a.linked_with, b.linked_with), ([], []))
        self.assertEqual(a.status.handshake_failures["bad_proof"], attack.spliced)
        self.assertEqual(b.status.handshake_failures["closed"], attack.spliced)
        self.assertEqual((a.status.nodes_known, b.status.nodes_known), (0, 0))

    def test_the_trap_itself_works(self) -> None:
        """With one TLS session end to end, over the same detour, the two nodes are linked: it is
        the second session that fails them and nothing else."""
        mesh = Mesh(groups=())
        a = mesh.add("a")
        mesh.network.listeners[ATTACKER, PORT] = mesh.network.listeners[a.host, PORT]
        b = mesh.add("b", groups=(GroupSettings("detour", ((ATTACKER, PORT),)),))
        mesh.until(mesh.is_complete)
        self.assertEqual(b.linked_with, ["a"])

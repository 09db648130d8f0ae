"""What is said of a connection that was lost before the other end had authenticated."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tunmesh.link.link import Link
from tunmesh.testing.mesh import Member, Mesh
from tunmesh.tls.binding import Channel


class WhyLostTests(SynchronousTestCase):
    """The reasons that are counted and logged."""

    def test_reasons(self) -> None:
        """Whatever OpenSSL or the network give as the reason, it is a word that is counted."""
        for error, reason, text in (
            (SSL.Error([("SSL routines", "", "wrong version number")]), "tls", "wrong version"),
            (SSL.Error([("", "", "certificate verify failed")]), "certificate", "verify failed"),
            (SSL.Error([("", "", "tlsv1 alert unknown ca")]), "certificate", "does not trust"),
            (SSL.Error([("", "", "tls alert certificate expired")]), "certificate", "has expired"),
            (SSL.SysCallError(104, "ECONNRESET"), "tls", "ECONNRESET"),
            (SSL.ZeroReturnError(), "closed", "closed the connection"),
            (ConnectionDone(), "closed", "closed the connection"),
        ):
            found = Channel().why_lost(Failure(error))
            self.assertEqual(found.reason, reason)
            self.assertIn(text, str(found))


class ExportTests(SynchronousTestCase):
    """Secrets for datagrams beside a connection."""

    def test_export(self) -> None:
        """Both ends of a link have the same secret, another one for each context and each link; it
        can still be had when the link is closed."""
        mesh = Mesh()
        a, b, _ = (mesh.add(name) for name in "abc")
        mesh.until(mesh.is_complete)

        def links(member: Member) -> dict[str, Link]:
            return {link.node.name: link for link in member.node.links}

        ours = {name: link.authentication.exporter() for name, link in links(a).items()}
        to_a = links(b)["a"].authentication.exporter()
        secrets = {ours["b"](b"c"), ours["b"](b"s"), ours["c"](b"c"), ours["b"](b"")}
        self.assertEqual(ours["b"](b"c"), to_a(b"c"))
        self.assertEqual((len(secrets), set(map(len, secrets))), (4, {32}))
        b.leave()
        mesh.until(lambda: len(links(a)) == 1)
        self.assertEqual(ours["b"](b"c"), to_a(b"c"))

"""What is said of a connection that was lost before the other end had authenticated."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

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

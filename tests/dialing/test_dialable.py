"""Which addresses are dialed at the request of other nodes."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from tunmesh.dialing.dialable import Dialable
from tunmesh.tls.underlay import Outside

ORDINARY = ("192.0.2.1", "10.1.2.3", "8.8.8.8", "2001:db8::1", "fd00::1", "::ffff:192.0.2.1")
LOOPBACK = ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")
LINK_LOCAL = ("169.254.169.254", "fe80::1", "fe80::1%eth0", "::ffff:169.254.1.1")
NOBODY = ("0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "ff02::1", "255.255.255.255")
MESH = Outside([ip_network("10.77.0.0/16"), ip_network("fd77::/64")])


class DialableTests(SynchronousTestCase):
    def refused(self, rule: Dialable, *hosts: str) -> list[str]:
        return [host for host in hosts if rule.why_not(host)]

    def test_default(self) -> None:
        """All addresses are dialed but those that are for this machine or this cable, or that are
        no single host."""
        rule = Dialable(MESH, None, lambda: "192.0.2.9")
        special = (*LOOPBACK, *LINK_LOCAL, *NOBODY)
        self.assertEqual(self.refused(rule, *ORDINARY, *special), list(special))
        for host, kind in (("127.0.0.1", "loopback"), ("169.254.1.1", "link-local")):
            why = f"{host} is {kind}, and clustering/dial_allow does not have it"
            self.assertEqual(rule.why_not(host), why)

    def test_own(self) -> None:
        """A node that advertises such an address itself dials others of the kind, and no other
        special ones."""
        for own in (*LOOPBACK, "localhost", "a.localhost."):
            rule = Dialable(MESH, None, partial(str, own))
            self.assertEqual(self.refused(rule, *ORDINARY, *LOOPBACK), [])
            self.assertEqual(self.refused(rule, *LINK_LOCAL, *NOBODY), [*LINK_LOCAL, *NOBODY])
        rule = Dialable(MESH, None, lambda: "fe80::9")
        self.assertEqual(self.refused(rule, *LINK_LOCAL, *LOOPBACK), list(LOOPBACK))
        rule = Dialable(MESH, None, lambda: "0.0.0.0")
        self.assertEqual(self.refused(rule, *NOBODY), list(NOBODY))

    def test_allowed(self) -> None:
        """With a list, only what is in it is dialed."""
        rule = Dialable(
            MESH, [ip_network("192.0.2.0/24"), ip_network("127.0.0.0/8")], lambda: "10.0.0.1"
        )
        hosts = (*ORDINARY, *LOOPBACK, *LINK_LOCAL, *NOBODY)
        dialed = ["192.0.2.1", "::ffff:192.0.2.1", "127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1"]
        refused = self.refused(rule, *hosts)
        self.assertEqual([host for host in hosts if host not in refused], dialed)
        self.assertEqual(rule.why_not("8.8.8.8"), "clustering/dial_allow does not have 8.8.8.8")
        self.assertEqual(self.refused(Dialable(MESH, [], lambda: "10.0.0.1"), *hosts), list(hosts))

    def test_mesh(self) -> None:
        """The networks of the mesh are not dialed, whatever is allowed."""
        for allow in (None, [ip_network("0.0.0.0/0"), ip_network("::/0")]):
            rule = Dialable(MESH, allow, lambda: "192.0.2.9")
            self.assertEqual(self.refused(rule, "10.77.1.1", "fd77::1"), ["10.77.1.1", "fd77::1"])
            self.assertIn("inside the mesh", rule.why_not("10.77.1.1"))

    def test_names(self) -> None:
        """Names are not judged, only addresses."""
        self.assertEqual(Dialable(MESH, None, lambda: "a.test").why_not("localhost"), "")

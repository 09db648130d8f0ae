"""The URL of a node that finds out its own host."""

from __future__ import annotations

from twisted.trial import unittest

from tunmesh.dialing.own_url import OwnUrl


class Story(unittest.SynchronousTestCase):
    """What it advertises from its start on."""

    def setUp(self) -> None:
        self.own = OwnUrl(4567, "10.1.2.3")

    def shows(self, host: str) -> None:
        self.assertEqual(self.own.url, f"https://{host}:4567")

    def test_guess_and_connection(self) -> None:
        """First the guess, which may change; then where connections are dialed from, whatever is
        guessed."""
        self.shows("10.1.2.3")
        self.own.guessed("10.1.2.4")
        self.shows("10.1.2.4")
        self.own.dialed_from("192.168.7.2")
        self.own.guessed("10.1.2.5")
        self.shows("192.168.7.2")
        self.assertFalse(self.own.is_guessed)
        self.own.dialed_from("fd01::3")
        self.shows("[fd01::3]")

    def test_linked(self) -> None:
        """Linked, the URL stays as long as one link has its address at this end. When none has, it
        is where the newest link was dialed from."""
        self.own.dialed_from("192.168.7.2")
        self.own.linked_by([("::ffff:192.168.7.2", False), ("10.1.2.9", True)])
        self.shows("192.168.7.2")
        self.own.linked_by([("10.1.2.7", True), ("10.1.2.8", True), ("10.1.2.9", False)])
        self.shows("10.1.2.8")
        self.own.linked_by([("10.1.2.9", False)])
        self.own.linked_by([])
        self.shows("10.1.2.8")

    def test_forms(self) -> None:
        """An IPv4 address may look like an IPv6 one. A link-local IPv6 address, and what is no
        address of a host, change nothing."""
        self.own.dialed_from("::ffff:192.168.7.2")
        self.shows("192.168.7.2")
        for local in ("fe80::1%eth0", "fe80::1", "0.0.0.0", "::", "", "unix"):
            self.own.dialed_from(local)
            self.shows("192.168.7.2")

    def test_loopback(self) -> None:
        """A connection over loopback counts unless it leads back to the node."""
        self.own.dialed_from("127.0.0.1")
        self.shows("127.0.0.1")
        self.own.led_back()
        self.shows("10.1.2.3")
        self.own.dialed_from("172.18.0.2")
        self.own.led_back()
        self.shows("172.18.0.2")

    def test_loopback_came_to_nothing(self) -> None:
        """It does not count either if nothing came of it, and other nodes have dialed this one."""
        self.own.dialed_from("127.0.0.1")
        self.own.linked_by([])
        self.shows("127.0.0.1")
        self.own.linked_by([("10.1.2.3", False)])
        self.shows("10.1.2.3")

"""The way of a packet in sentences; the last one says why it ends, with the reason in metrics."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from twisted.trial import unittest

from tests.test_metrics import a_status, record_of
from tunmesh.explain import Explainer
from tunmesh.status import DialStatus, Sight, Status

NETWORKS = (ip_network("10.77.0.0/16"),)
DIAL = DialStatus("delta", False, "192.0.2.4:4567", 1, "Connection refused", 1.0)
SIGHTS = (
    Sight("4" * 32, record_of("delta", 4), ()),
    Sight(a_status().peers[0].record.id, record_of("bravo", 2), ()),
)


class Explanations(unittest.SynchronousTestCase):
    """Of a node with 10.77.1.1 that is linked with bravo (.2) and charlie (.3)."""

    def setUp(self) -> None:
        self.status: Status = replace(a_status(), dials=(DIAL,))

    def last(self, source: str, destination: str, carried: bool, broadcasts: bool = False) -> str:
        explainer = Explainer(self.status, SIGHTS, NETWORKS, broadcasts)
        steps = explainer.explain(ip_address(source), ip_address(destination))
        self.assertEqual([step.ok for step in steps], [True] * (len(steps) - 1) + [carried])
        return steps[-1].text

    def test_out(self) -> None:
        """A packet of this machine's to a linked node arrives."""
        text = self.last("10.77.1.1", "10.77.1.2", True)
        self.assertIn("10.77.1.2 is bravo's own", text)

    def test_in(self) -> None:
        """A packet of a linked node's arrives here."""
        self.assertIn("goes to the tun", self.last("10.77.1.3", "10.77.1.1", True))

    def test_no_route(self) -> None:
        """Nobody has the address; or somebody has, who is not linked, and why; or another one."""
        text = self.last("10.77.1.1", "10.77.1.9", False)
        self.assertIn("(no_route). No node that this one knows of has it", text)
        text = self.last("10.77.1.1", "10.77.1.4", False)
        self.assertIn("no link with delta: 192.0.2.4:4567: Connection refused", text)
        bravo = replace(self.status.peers[0], routed=())
        self.status = replace(self.status, peers=(bravo, self.status.peers[1]))
        text = self.last("10.77.1.1", "10.77.1.2", False)
        self.assertIn("bravo claims it, but another node holds it", text)

    def test_not_ours(self) -> None:
        """Addresses that are no node's, or not to be carried."""
        for destination, reason in {
            "8.8.8.8": "outside_network",
            "224.0.0.1": "multicast",
            "10.77.255.255": "broadcast",
        }.items():
            self.assertIn(f"({reason})", self.last("10.77.1.1", destination, False))
        self.assertIn("never sends it out", self.last("10.77.1.1", "10.77.1.1", False))
        text = self.last("10.77.1.1", "10.77.255.255", True, broadcasts=True)
        self.assertIn("is for all: a copy", text)

    def test_spoofed(self) -> None:
        """Sources that nobody would believe, here or there."""
        self.assertIn("(spoofed_source)", self.last("192.0.2.1", "10.77.1.2", False))
        self.assertIn("(spoofed_source)", self.last("10.77.1.9", "10.77.1.1", False))
        refusing = replace(self.status.peers[0], refuses=("10.77.1.1",))
        self.status = replace(self.status, peers=(refusing,))
        text = self.last("10.77.1.1", "10.77.1.2", False)
        self.assertIn("bravo does not route 10.77.1.1 to this node", text)
        text = self.last("10.77.1.2", "10.77.1.1", False)
        self.assertIn("bravo does not route 10.77.1.1 to this node: it sends it elsewhere", text)

    def test_elsewhere(self) -> None:
        """Between two others, and between families."""
        self.assertIn("ask bravo", self.last("10.77.1.2", "10.77.1.3", False))
        self.assertIn("different families", self.last("10.77.1.1", "fd77::1", False))

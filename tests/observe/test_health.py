"""When a node is live and when it is ready, as tables of conditions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.trial import unittest

from tunmesh.observe.health import Condition, judge, missing
from tunmesh.status.health import Check
from tunmesh.status.node import AutomaticAddress

GONE = "the tun is gone"


class HealthCase(unittest.SynchronousTestCase):
    def not_live(self, **condition: Any) -> list[str]:
        """The names of the conditions of being live that are not met."""
        checks = judge(Condition(**{"links": 1, **condition})).live
        self.assertEqual([check.name for check in checks], ["tun", "listener"])
        return [check.name for check in checks if not check.ok]

    def not_ready(self, **condition: Any) -> list[str]:
        """The same for being ready. Every condition has a name of its own, and a reason."""
        checks = judge(Condition(**{"links": 1, **condition})).ready
        self.assertTrue(all(check.reason for check in checks))
        self.assertEqual(len({check.name for check in checks}), len(checks))
        return [check.name for check in checks if not check.ok]

    def membership(self, **condition: Any) -> Check:
        (check,) = (c for c in judge(Condition(**condition)).ready if c.name == "membership")
        return check


class LivenessTests(HealthCase):
    """Whether restarting the node would help."""

    def test_conditions(self) -> None:
        """A node is live while its tun is open and its port bound; when it leaves, it needs no
        port."""
        for tun_lost, is_listening, is_leaving, failing in (
            ("", True, False, []),
            ("", False, False, ["listener"]),
            (GONE, True, False, ["tun"]),
            (GONE, False, False, ["tun", "listener"]),
            ("", False, True, []),
            ("", True, True, []),
            (GONE, False, True, ["tun"]),
        ):
            found = self.not_live(
                tun_lost=tun_lost, is_listening=is_listening, is_leaving=is_leaving
            )
            self.assertEqual(found, failing)

    def test_reasons(self) -> None:
        """Each condition says in words why it is met or not."""
        for condition, reasons in (
            (Condition(1), ["the tun is open", "the port is bound"]),
            (Condition(1, False, GONE), [GONE, "the port is not bound"]),
            (Condition(1, False, is_leaving=True), ["the tun is open", "leaving the mesh"]),
        ):
            self.assertEqual([check.reason for check in judge(condition).live], reasons)


class ReadinessTests(HealthCase):
    """Whether others can rely on the node."""

    def test_linked(self) -> None:
        """A node with a link is ready, whatever its grace and its bootstrap groups."""
        for links in (1, 7):
            for grace_left in (-1.0, 0.0, 5.0):
                for is_first in (False, True):
                    found = self.not_ready(links=links, grace_left=grace_left, is_first=is_first)
                    self.assertEqual(found, [])

    def test_alone(self) -> None:
        """A node without a link is ready during its grace, or if it has nothing to bootstrap
        from."""
        for grace_left, is_first, failing in (
            (0.0, False, ["membership"]),
            (-3600.0, False, ["membership"]),
            (0.1, False, []),
            (60.0, False, []),
            (0.0, True, []),
            (60.0, True, []),
        ):
            found = self.not_ready(links=0, grace_left=grace_left, is_first=is_first)
            self.assertEqual(found, failing)

    def test_leaving(self) -> None:
        """A node that leaves is not ready, whatever else."""
        for links in (0, 1):
            for is_first in (False, True):
                found = self.not_ready(
                    links=links, grace_left=60.0, is_first=is_first, is_leaving=True
                )
                self.assertEqual(found, ["membership"])

    def test_not_live(self) -> None:
        """A node that is not live is not ready, and says what it lacks."""
        self.assertEqual(self.not_ready(tun_lost=GONE), ["live", "tun"])
        found = self.not_ready(tun_lost=GONE, is_listening=False)
        self.assertEqual(found, ["live", "tun", "listener"])

    def test_disagreement(self) -> None:
        """A node that does not agree with the mesh is not ready."""
        against = (Check("addresses", False, "one"), Check("networks", True, "two"))
        self.assertEqual(self.not_ready(agreement=against), ["addresses"])
        self.assertEqual(self.not_ready(links=0, agreement=against), ["membership", "addresses"])

    def test_device(self) -> None:
        """A node whose device lacks something is live and not ready, and says what it lacks."""
        complaints = ["the route is gone", "it is down"]
        self.assertEqual(self.not_live(device_complaints=complaints), [])
        self.assertEqual(self.not_ready(device_complaints=complaints), ["device"])
        check = judge(Condition(1, device_complaints=complaints)).ready[-1]
        self.assertEqual(check.reason, "the route is gone; it is down")

    def test_reasons(self) -> None:
        """The reasons are sentences for a person."""
        same = (Check("networks", True, "the same"),)
        for condition, reason in (
            (Condition(1, agreement=same), "linked to 1 node"),
            (Condition(2, agreement=same), "linked to 2 nodes"),
            (Condition(0, agreement=same), "not linked to any node"),
            (Condition(0, agreement=same, grace_left=4.2), "startup_grace: 4 s left"),
            (
                Condition(0, agreement=same, is_first=True),
                "there is nobody to bootstrap from: first node",
            ),
            (Condition(2, agreement=same, is_leaving=True), "leaving the mesh"),
        ):
            self.assertEqual(
                {check.name: check.reason for check in judge(condition).ready},
                {
                    "live": "the node works",
                    "membership": reason,
                    "networks": "the same",
                    "device": "it has its addresses and routes",
                },
            )

    def test_leads_back_in_a_shared_config(self) -> None:
        """A node that chooses its address shares its config with others: if the bootstrap list
        leads to itself, it is the first one."""
        own = AutomaticAddress(4, "held", "10.77.0.9/16", 0, 0.0, "10.77.0.0/16", 65534, 0, True)
        check = self.membership(links=0, leads_back=("https://me:1",), automatic=(own,))
        self.assertTrue(check.ok)
        self.assertIn("the bootstrap URLs lead only to this node: https://me:1", check.reason)

    def test_leads_back(self) -> None:
        """A node that is to bootstrap from others and reaches only itself is not ready, and says
        at which URLs."""
        check = self.membership(links=0, leads_back=("https://me:1",))
        self.assertFalse(check.ok)
        self.assertEqual(check.reason, "the bootstrap URLs lead only to this node: https://me:1")
        self.assertTrue(self.membership(links=1, leads_back=("https://me:1",)).ok)

    def test_only_replica(self) -> None:
        """A node that chooses its address itself is ready when it reaches only itself and has an
        address: replicas have one config, so the first one has a list, too."""
        claiming = AutomaticAddress(
            4, "claiming", "10.9.0.7/16", 0, 0.0, "10.9.0.0/16", 9, 0, False
        )
        held = replace(claiming, state="held", is_on_device=True)
        same = (Check("networks", True, "the same"),)
        for automatic, is_ready in (((), False), ((claiming,), False), ((held,), True)):
            alone = Condition(0, leads_back=("https://me:1",), automatic=automatic, agreement=same)
            self.assertEqual(judge(alone).is_ready, is_ready)
        cut_off = Condition(0, automatic=(held,), agreement=same)
        self.assertFalse(judge(cut_off).is_ready)

    def test_expected(self) -> None:
        """How many nodes are expected is said, and makes no node unready."""
        check = self.membership(links=1, expected_nodes=5)
        self.assertTrue(check.ok)
        self.assertEqual(check.reason, "linked to 1 of 4 other nodes that are expected")
        for links, expected, is_missing in ((1, None, False), (1, 2, False), (1, 1, False)):
            self.assertEqual(bool(missing(links, expected)), is_missing)
        self.assertEqual(
            missing(2, 5), "linked with 2 of 4 other nodes (monitoring/expected_nodes: 5)"
        )

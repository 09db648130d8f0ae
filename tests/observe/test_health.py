"""When a node is alive and when others may count on it, as a table of conditions."""

from __future__ import annotations

from twisted.trial import unittest

from tunmesh.observe.health import liveness, missing, readiness
from tunmesh.status import Check

ALIVE = liveness(tun_lost="", listening=True, leaving=False)


class Liveness(unittest.SynchronousTestCase):
    """Whether restarting the node would help."""

    def test_conditions(self) -> None:
        """A node is alive while its tun is open and its port bound; leaving, it needs no port."""
        for tun_lost, listening, leaving, tun_ok, listener_ok in (
            ("", True, False, True, True),
            ("", False, False, True, False),
            ("the tun is gone", True, False, False, True),
            ("the tun is gone", False, False, False, False),
            ("", False, True, True, True),
            ("", True, True, True, True),
            ("the tun is gone", False, True, False, True),
        ):
            checks = liveness(tun_lost, listening, leaving)
            self.assertEqual(
                [(check.name, check.ok) for check in checks],
                [("tun", tun_ok), ("listener", listener_ok)],
            )

    def test_device(self) -> None:
        """A node whose device lacks something is alive and not ready, and says what it lacks."""
        device = ["the route is gone", "it is down"]
        checks = {check.name: check for check in readiness(ALIVE, 1, 0.0, True, False, (), device)}
        self.assertEqual([name for name, check in checks.items() if not check.ok], ["device"])
        self.assertEqual(checks["device"].reason, "the route is gone; it is down")

    def test_reasons(self) -> None:
        """Each condition says in words why it is met or not."""
        self.assertEqual(
            [check.reason for check in ALIVE], ["the tun is open", "the port is bound"]
        )
        self.assertEqual(
            [check.reason for check in liveness("the tun is gone", False, False)],
            ["the tun is gone", "the port is not bound"],
        )
        self.assertEqual(liveness("", False, True)[1].reason, "leaving the mesh")


class Readiness(unittest.SynchronousTestCase):
    """Whether others can count on the node."""

    def failing(
        self,
        live: tuple[Check, ...] = ALIVE,
        links: int = 1,
        grace_left: float = 0.0,
        is_first: bool = False,
        leaving: bool = False,
        agreement: tuple[Check, ...] = (),
    ) -> list[str]:
        """The names of the conditions that are not met. Every condition has a reason."""
        checks = readiness(live, links, grace_left, is_first, leaving, agreement)
        self.assertTrue(all(check.reason for check in checks))
        self.assertEqual(len({check.name for check in checks}), len(checks))
        return [check.name for check in checks if not check.ok]

    def test_linked(self) -> None:
        """A node with a link is ready, whatever else."""
        for links in (1, 7):
            for grace_left in (-1.0, 0.0, 5.0):
                for is_first in (False, True):
                    self.assertEqual(self.failing(ALIVE, links, grace_left, is_first), [])

    def test_alone(self) -> None:
        """A node without a link is ready during its grace, or if there is nobody to look for."""
        for grace_left, is_first, failing in (
            (0.0, False, ["membership"]),
            (-3600.0, False, ["membership"]),
            (0.1, False, []),
            (60.0, False, []),
            (0.0, True, []),
            (60.0, True, []),
        ):
            self.assertEqual(self.failing(ALIVE, 0, grace_left, is_first), failing)

    def test_leaving(self) -> None:
        """A node that leaves is not ready, whatever else."""
        for links in (0, 1):
            for is_first in (False, True):
                failing = self.failing(ALIVE, links, 60.0, is_first, leaving=True)
                self.assertEqual(failing, ["membership"])

    def test_not_alive(self) -> None:
        """A node that is not alive is not ready, and says what it lacks."""
        live = liveness("the tun is gone", True, False)
        self.assertEqual(self.failing(live), ["live", "tun"])
        live = liveness("the tun is gone", False, False)
        self.assertEqual(self.failing(live), ["live", "tun", "listener"])

    def test_disagreement(self) -> None:
        """A node that does not agree with the mesh is not ready."""
        against = (Check("addresses", False, "one"), Check("networks", True, "two"))
        self.assertEqual(self.failing(agreement=against), ["addresses"])
        self.assertEqual(self.failing(links=0, agreement=against), ["membership", "addresses"])

    def test_device(self) -> None:
        """A node whose device lacks something is alive and not ready, and says what it lacks."""
        device = ["the route is gone", "it is down"]
        checks = {check.name: check for check in readiness(ALIVE, 1, 0.0, True, False, (), device)}
        self.assertEqual([name for name, check in checks.items() if not check.ok], ["device"])
        self.assertEqual(checks["device"].reason, "the route is gone; it is down")

    def test_reasons(self) -> None:
        """The reasons are sentences for a person."""
        for links, grace_left, is_first, leaving, reason in (
            (1, 0.0, False, False, "linked to 1 node"),
            (2, 0.0, False, False, "linked to 2 nodes"),
            (0, 0.0, False, False, "not linked to any node"),
            (0, 4.2, False, False, "startup_grace: 4 s left"),
            (0, 0.0, True, False, "there is nobody to bootstrap from: first node"),
            (2, 0.0, False, True, "leaving the mesh"),
        ):
            checks = readiness(
                ALIVE,
                links,
                grace_left,
                is_first,
                leaving,
                [Check("networks", True, "the same")],
            )
            self.assertEqual(
                {check.name: check.reason for check in checks},
                {
                    "live": "the node works",
                    "membership": reason,
                    "networks": "the same",
                    "device": "it has its addresses and routes",
                },
            )

    def membership(self, links: int, leads_back: tuple[str, ...], expected: int | None) -> Check:
        checks = readiness(ALIVE, links, 0.0, False, False, (), (), leads_back, expected)
        return next(check for check in checks if check.name == "membership")

    def test_leads_back(self) -> None:
        """A node that was told to look for others and found only itself is not ready, and says at
        which URLs."""
        check = self.membership(0, ("https://me:1",), None)
        self.assertFalse(check.ok)
        self.assertEqual(check.reason, "the bootstrap URLs lead only to this node: https://me:1")
        self.assertTrue(self.membership(1, ("https://me:1",), None).ok)

    def test_expected(self) -> None:
        """How many nodes there should be is said, and makes no node unready."""
        check = self.membership(1, (), 5)
        self.assertEqual(
            (check.ok, check.reason), (True, "linked to 1 of 4 other nodes that are expected")
        )
        self.assertEqual(
            [
                bool(missing(links, expected))
                for links, expected in ((1, None), (1, 2), (1, 1), (1, 3))
            ],
            [False, False, False, True],
        )
        self.assertEqual(
            missing(2, 5), "linked with 2 of 4 other nodes (monitoring/expected_nodes: 5)"
        )

"""When a node is alive and when others may count on it, as a table of conditions."""

from __future__ import annotations

from twisted.trial import unittest

from tunmesh.health import liveness, readiness
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
        has_bootstrap: bool = True,
        leaving: bool = False,
        refusals: tuple[str, ...] = (),
    ) -> list[str]:
        """The names of the conditions that are not met. Every condition has a reason."""
        checks = readiness(live, links, grace_left, has_bootstrap, leaving, refusals)
        self.assertTrue(all(check.reason for check in checks))
        self.assertEqual(len({check.name for check in checks}), len(checks))
        return [check.name for check in checks if not check.ok]

    def test_linked(self) -> None:
        """A node with a link is ready, whatever else."""
        for links in (1, 7):
            for grace_left in (-1.0, 0.0, 5.0):
                for has_bootstrap in (False, True):
                    self.assertEqual(self.failing(ALIVE, links, grace_left, has_bootstrap), [])

    def test_alone(self) -> None:
        """A node without a link is ready during its grace, or if there is nobody to look for."""
        for grace_left, has_bootstrap, failing in (
            (0.0, True, ["membership"]),
            (-3600.0, True, ["membership"]),
            (0.1, True, []),
            (60.0, True, []),
            (0.0, False, []),
            (60.0, False, []),
        ):
            self.assertEqual(self.failing(ALIVE, 0, grace_left, has_bootstrap), failing)

    def test_leaving(self) -> None:
        """A node that leaves is not ready, whatever else."""
        for links in (0, 1):
            for has_bootstrap in (False, True):
                failing = self.failing(ALIVE, links, 60.0, has_bootstrap, leaving=True)
                self.assertEqual(failing, ["membership"])

    def test_not_alive(self) -> None:
        """A node that is not alive is not ready, and says what it lacks."""
        live = liveness("the tun is gone", True, False)
        self.assertEqual(self.failing(live), ["live", "tun"])
        live = liveness("the tun is gone", False, False)
        self.assertEqual(self.failing(live), ["live", "tun", "listener"])

    def test_refused(self) -> None:
        """A node whose address is routed elsewhere is not ready."""
        self.assertEqual(self.failing(refusals=("one", "two")), ["addresses"])
        self.assertEqual(self.failing(links=0, refusals=("one",)), ["membership", "addresses"])

    def test_device(self) -> None:
        """A node whose device lacks something is alive and not ready, and says what it lacks."""
        device = ["the route is gone", "it is down"]
        checks = {check.name: check for check in readiness(ALIVE, 1, 0.0, True, False, (), device)}
        self.assertEqual([name for name, check in checks.items() if not check.ok], ["device"])
        self.assertEqual(checks["device"].reason, "the route is gone; it is down")

    def test_reasons(self) -> None:
        """The reasons are sentences for a person."""
        for links, grace_left, has_bootstrap, leaving, reason in (
            (1, 0.0, True, False, "linked to 1 node"),
            (2, 0.0, True, False, "linked to 2 nodes"),
            (0, 0.0, True, False, "not linked to any node"),
            (0, 4.2, True, False, "startup_grace: 4 s left"),
            (0, 0.0, False, False, "there is nobody to bootstrap from: first node"),
            (2, 0.0, True, True, "leaving the mesh"),
        ):
            checks = readiness(ALIVE, links, grace_left, has_bootstrap, leaving, ["one", "two"])
            self.assertEqual(
                {check.name: check.reason for check in checks},
                {
                    "live": "the node works",
                    "membership": reason,
                    "addresses": "one; two",
                    "device": "it has its addresses and routes",
                },
            )

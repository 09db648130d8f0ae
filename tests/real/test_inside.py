"""Real nodes whose URLs resolve to addresses inside the mesh."""

from __future__ import annotations

from typing import Any

from tests.real.test_mesh import MeshCase
from tests.support.realnode import Ground

# The rest of the script sees another /etc/hosts.
HOSTS = """
import ctypes
from tunmesh.host.namespaces import CLONE_NEWNS, unshare
MS_PRIVATE_RECURSIVELY, MS_BIND = 1 << 18 | 1 << 14, 1 << 12
unshare(CLONE_NEWNS)
mount = ctypes.CDLL(None).mount
assert mount(None, b"/", None, MS_PRIVATE_RECURSIVELY, None) == 0
assert mount({hosts!r}, b"/etc/hosts", None, MS_BIND, None) == 0
"""
SHORT_SESSIONS: dict[str, Any] = {
    "process__timing": {
        "auth": {"session_max_age": 0.5},
        "registrations": {"groom_interval": 0.1},
    },
    "logging": {"level": "debug", "format": "json"},
}


def hosts_of(ground: Ground, **names: str) -> str:
    """Python that gives a process these names, by their first label, with these addresses."""
    path = ground.directory / "hosts"
    path.write_text("".join(f"{address} {name}.test\n" for name, address in names.items()))
    path.chmod(0o644)
    return HOSTS.format(hosts=bytes(path))


class InsideTests(MeshCase):
    """Node 2 knows node 1 by its underlay address; node 1 advertises a name that resolves to its
    mesh address."""

    nodes = 2

    async def test_renewals(self) -> None:
        """If the name of a peer resolves into the mesh, its session is not renewed and goes on: no
        link is lost, and the log says why, each time at debug level."""
        url = "https://one.test:4567"
        self.ground.change(1, clustering__control_api_advertise_url=url, **SHORT_SESSIONS)
        self.ground.change(2, **SHORT_SESSIONS)
        first = self.ground.start(1)
        await first.logged("ready")
        second = self.ground.start(2, before=hosts_of(self.ground, one=self.ground.plans[0].ipv4))
        await second.logged("linked", peer="node1", url=url)
        for _ in range(4):
            await second.logged("unreachable", host="one.test")
            await self.exchange(2, 1)
            await self.exchange(1, 2)
        event = second.all_logged("unreachable")[0]
        self.assertIn("10.77.0.1 is inside the mesh (10.77.0.0/16)", event["why"])
        for node in (first, second):
            self.assertEqual(node.all_logged("unlinked"), [])
            self.assertEqual(node.all_logged("handshake_failed"), [])

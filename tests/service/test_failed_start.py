"""Starts that the machine refuses: one line says why, and the machine is as it was."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.service.test_service import NodeCase
from tests.support.netns import hold_tun
from tests.support.realnode import TUN, RealNode, state

DOCKERFILE = Path(__file__).parent.parent.parent / "Dockerfile"
# Runs the command that follows as process 1 of a pid namespace, see pid_namespaces(7).


class FailedStartTests(NodeCase):
    """What the machine refuses is logged in one line, and what was made until then is removed."""

    async def fails(self, *pieces: str, before: str = "") -> RealNode:
        """The node ends with code 1, one critical event that has these pieces in its text, and
        the machine as it was."""
        unchanged = state(self.namespace)
        node = self.ground.start(before=before)
        self.assertEqual(await node.ended, 1)
        (failure,) = node.all_logged("failed")
        self.assertEqual(failure["level"], "critical")
        for piece in pieces:
            self.assertIn(piece, failure["text"])
        self.assertEqual(node.complaint, "")
        self.assertNotIn("Traceback", node.text)
        self.assertEqual(state(self.namespace), unchanged)
        return node

    async def test_name_taken(self) -> None:
        """A device of that name is left alone, and the key that would change the name is named."""
        holder = hold_tun(self, self.namespace, TUN)
        await self.fails("tun1 exists already", f"pid {holder}", "networking/tun_device_id")

    async def test_port_in_use(self) -> None:
        """A port in use is named with the process that has it; no tun is made."""
        with self.namespace:
            other = socket.create_server(("::", 4567), family=socket.AF_INET6, dualstack_ipv6=True)
        self.addCleanup(other.close)
        holder = f"by pid {os.getpid()} ("
        node = await self.fails("control_api/listen_port", "Address already in use", holder)
        self.assertEqual(node.all_logged("tun_up"), [])

    async def test_no_net_admin(self) -> None:
        """Root of a container without NET_ADMIN is told of the capability and how to get it."""
        await self.fails("CAP_NET_ADMIN is missing", "--cap-add NET_ADMIN", before=LOSE_NET_ADMIN)

    async def test_network_clash(self) -> None:
        """A mesh network that a cable of this machine uses is refused."""
        self.ground.change(
            networking__ipv4={
                "network_cidr": "10.99.0.0/16",
                "node_address_cidr": "10.99.7.1/16",
            },
            clustering__control_api_advertise_url="https://node1.example:4567",
        )
        await self.fails("networking/ipv4/network_cidr", "10.99.0.0/24, which eth0 uses")

    async def test_no_tun_device(self) -> None:
        """Without /dev/net/tun, the line says how to give it to a container."""
        await self.fails("/dev/net/tun does not exist", "--device", before=HIDE_TUN)


LOSE_NET_ADMIN = """
import ctypes
PR_CAPBSET_DROP, CAP_NET_ADMIN = 24, 12
assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_NET_ADMIN, 0, 0, 0) == 0
"""

HIDE_TUN = """
import ctypes
from tunmesh.host.namespaces import CLONE_NEWNS, unshare
MS_PRIVATE_RECURSIVELY = 1 << 18 | 1 << 14
unshare(CLONE_NEWNS)
mount = ctypes.CDLL(None).mount
assert mount(None, b"/", None, MS_PRIVATE_RECURSIVELY, None) == 0
assert mount(b"none", b"/dev/net", b"tmpfs", 0, None) == 0
"""

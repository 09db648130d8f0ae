"""What keeps a node from starting on a real machine: the start reports it, the doctor finds it
before, in the same words, and neither leaves anything behind."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

from twisted.internet.utils import getProcessOutputAndValue

from tests.doctor.test_doctor import TUNMESH, DoctorCase
from tests.support.netns import hold_tun, run_python
from tests.support.realnode import OWNER, TUN, Ground, reactor, state
from tunmesh.host import holders

ME = f"pid {os.getpid()} ("


def setting(ground: Ground, number: int, name: str, value: int) -> None:
    """Set a sysctl of that node's namespace."""
    with ground.namespace(number):
        Path(f"/proc/sys/net/ipv6/{name}").write_text(str(value))


class StartCase(DoctorCase):
    """Node 2, alone, on a machine where it cannot start."""

    def setUp(self) -> None:
        super().setUp()
        self.change()

    def change(self, **changes: Any) -> None:
        """Node 2 is the first node of its mesh, with these changes."""
        first: dict[str, Any] = {"clustering__bootstrap_groups": {"first": {}}, "monitoring": {}}
        self.ground.change(2, **first, **changes)

    def listen(self, family: socket.AddressFamily, host: str, **options: bool) -> None:
        """Another process has the port at this address."""
        with self.ground.namespace(2):
            taken = socket.create_server((host, 4567), family=family, **options)
        self.addCleanup(taken.close)

    async def refused(self, part: str, *pieces: str) -> None:
        """The doctor finds it; the start fails with the same text; the machine is as it was."""
        before = state(self.ground.namespace(2))
        text = await self.says(2)
        node = self.ground.start(2)
        self.assertEqual(await node.ended, 1)
        (failure,) = node.all_logged("failed")
        for piece in pieces:
            self.assertIn(piece, failure["error"])
        self.assertIn(f"{part}\n  NO  {failure['error']}\n", text)
        self.assertEqual(text.count("NO"), 1, text)
        self.assertEqual(state(self.ground.namespace(2)), before)

    async def starts(self) -> Any:
        """The doctor has no complaint, and the start succeeds."""
        self.assertNotIn("NO", await self.says(0))
        node = self.ground.start(2)
        await node.logged("ready")
        return node

    async def check(self) -> str:
        """What `tunmesh config check` warns of."""
        with self.ground.namespace(2):
            running = getProcessOutputAndValue(
                TUNMESH,
                ["config", "check", str(self.ground.config(2))],
                os.environ,
                reactor=reactor,
            )
        _, err, code = await running
        self.assertEqual(code, 0, err)
        return str(err.decode())


class RefusalTests(StartCase):
    """The doctor once missed each of these."""

    async def test_port_of_ipv4(self) -> None:
        """The port is taken on loopback: the process that has it is named, also by `config
        check`."""
        self.listen(socket.AF_INET, "127.0.0.1")
        await self.refused("port", "TCP port 4567", ME, "listens on 127.0.0.1", "listen_address")
        self.assertIn(f"listen_port: TCP port 4567 is taken here by {ME}", await self.check())

    async def test_port_of_ipv6(self) -> None:
        """The port is taken on IPv6 only: the node does not silently listen on IPv4 only."""
        self.listen(socket.AF_INET6, "::")
        await self.refused("port", "TCP port 4567", ME, "listens on ::")

    async def test_udp_port(self) -> None:
        """The UDP port of that number is taken: the process is named, and what helps. A node that
        carries nothing over UDP leaves it alone."""
        with self.ground.namespace(2):
            taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            taken.bind(("127.0.0.1", 4567))
        self.addCleanup(taken.close)
        helps = "networking/transport: tcp needs no UDP port"
        await self.refused("port", "UDP port 4567", ME, "listens on 127.0.0.1", helps)
        self.assertIn(f"listen_port: UDP port 4567 is taken here by {ME}", await self.check())
        self.change(networking__transport="tcp")
        self.assertEqual(await self.check(), "")
        self.assertNotIn("UDP", await self.says(0))
        await self.starts()

    async def test_udp_port_of_another_address(self) -> None:
        """A listen address leaves that UDP port free on others; the doctor names both."""
        with self.ground.namespace(2):
            taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            taken.bind(("127.0.0.1", 4567))
        self.addCleanup(taken.close)
        self.change(control_api__listen_address="10.99.0.2")
        self.assertEqual(await self.check(), "")
        both = "TCP port 4567 of 10.99.0.2 can be listened on, and UDP port 4567 of 10.99.0.2"
        self.assertIn(both, await self.says(0))

    async def test_not_this_address(self) -> None:
        """The machine does not have the address to listen on."""
        self.change(control_api__listen_address="10.99.0.77")
        await self.refused("port", "control_api/listen_address: 10.99.0.77 is no address of this")

    async def test_tun_taken(self) -> None:
        """The device belongs to another process."""
        hold_tun(self, self.ground.namespace(2), TUN)
        await self.refused("tun", "tun1 exists already", "networking/tun_device_id")

    async def test_no_ipv6(self) -> None:
        """IPv6 is disabled by sysctl, but the mesh uses it."""
        setting(self.ground, 2, "conf/all/disable_ipv6", 1)
        await self.refused("networks", "networking/ipv6", "disable_ipv6")


class SuccessTests(StartCase):
    """Each of these once was an error, or an incomplete start."""

    async def test_own_port_and_tun(self) -> None:
        """The doctor does not report the port and device of a running node as taken."""
        await self.starts()
        path = self.ground.directory / self.ground.plans[1].socket
        text = await self.says(0, socket_path=str(path))
        self.assertNotIn("?", text)
        self.assertEqual(await self.check(), "")

    async def test_own_port_without_the_socket(self) -> None:
        """When the control socket cannot be asked, a warning names the process that has the
        port."""
        node = await self.starts()
        text = await self.says(0)
        # The name of the interpreter where its path is too long for a script's first line.
        name = Path(f"/proc/{node.pid}/comm").read_text().strip()
        holder = f"pid {node.pid} ({name}, a tunmesh node)"
        self.assertIn("port\n  ?   control_api/listen_port", text)
        self.assertIn(f"in use by {holder}", text)
        self.assertIn(f"tun\n  ?   tun1 exists already, held by {holder}", text)

    async def test_both_families(self) -> None:
        """The port answers on IPv4 as well, whatever net.ipv6.bindv6only is."""
        setting(self.ground, 2, "bindv6only", 1)
        node = await self.starts()
        self.assertEqual((await node.logged("listening"))["where"], "TCP port 4567")
        for host in ("127.0.0.1", "::1"):
            with self.ground.namespace(2), socket.create_connection((host, 4567), 5):
                pass

    async def test_one_address(self) -> None:
        """A node with a listen address leaves the port free on other addresses, and is reached and
        probed there."""
        self.listen(socket.AF_INET, "127.0.0.1")
        self.change(control_api__listen_address="10.99.0.2")
        self.assertEqual(await self.check(), "")
        node = await self.starts()
        where = (await node.logged("listening"))["where"]
        self.assertEqual(where, "TCP port 4567 of 10.99.0.2")
        with self.ground.namespace(2):
            (holder,) = holders.of_port(4567, "UDP")
        self.assertEqual((holder.pid, str(holder.address)), (node.pid, "10.99.0.2"))
        config = {"TUNMESH_CONFIG_PATH": str(self.ground.config(2)), "TUNMESH_SOCKET": "/nowhere"}
        with self.ground.namespace(2):
            running = getProcessOutputAndValue(
                sys.executable,
                ["-m", "tunmesh.healthcheck"],
                {**os.environ, **config},
                reactor=reactor,
            )
        out, _, code = await running
        self.assertEqual(code, 0, out)
        groups = {"second": {"bootstrap_node_urls": [self.ground.plans[1].url]}}
        self.ground.change(1, clustering__bootstrap_groups=groups)
        self.ground.start(1)
        await node.logged("linked", peer="node1")

    async def test_automatic_addresses(self) -> None:
        """The doctor tries whether the helper process can run, and leaves none behind; with static
        addresses it does not speak of it."""
        self.assertNotIn("helper", await self.says(0))
        self.change(
            networking__ipv4__node_address_cidr="auto", networking__ipv6__node_address_cidr="auto"
        )
        text = await self.says(0)
        self.assertIn("helper\n  ok  a helper process can keep NET_ADMIN", text)
        self.assertNotIn("NO", text)

    async def test_as_its_own_user(self) -> None:
        """A container that already runs as process.uid needs only NET_ADMIN."""
        with self.ground.namespace(2):
            running = run_python(reactor, AS_OWNER, *map(str, (OWNER.uid, self.ground.config(2))))
        out, err, code = await running
        self.assertEqual((err.decode(), code), ("", 0), out)
        self.assertIn("can become uid 65534", out.decode())
        self.assertNotIn("NO", out.decode())


# The doctor in a process that has changed its user after it had imported everything: where the
# interpreter is may be closed to that user.
AS_OWNER = """
import ctypes, os, sys
from tunmesh.config import loading
from tunmesh.doctor import diagnosis
from tunmesh.host import privileges, seccomp
from tunmesh.netlink import setup
from tunmesh.service import preflight
import encodings.idna, encodings.utf_8_sig
uid, path = int(sys.argv[1]), sys.argv[2]
# The device may be root's alone on this machine.
PR_SET_KEEPCAPS, NET_ADMIN, DAC_OVERRIDE = 8, 1 << 12, 1 << 1
assert ctypes.CDLL(None).prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
privileges._capset(*[NET_ADMIN | DAC_OVERRIDE] * 3)
found = list(diagnosis.examine(loading.path_of(path, {}), os.environ, max, 1e9, None))
print("\\n".join(f"{each.part}: {each.verdict} {each.text}" for each in found))
"""

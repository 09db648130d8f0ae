"""What `tunmesh init` writes, run by real nodes: one directory for all of them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path

from click.testing import CliRunner
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from tests.support import netns
from tests.support.nameservers import query, read
from tests.support.places import short_directory
from tests.support.realnode import OWNER, Ground, RealNode, reactor
from tunmesh.cli.main import main

DNS = ("10.9.255.254", 53)
PATIENCE = 2.0  # seconds for an answer
# A host of its own: its name, and a place for the control socket.
HOST = """
import ctypes, os, socket
from tunmesh.host.namespaces import CLONE_NEWNS, unshare
CLONE_NEWUTS, MS_PRIVATE_RECURSIVELY = 0x04000000, 1 << 18 | 1 << 14
unshare(CLONE_NEWNS | CLONE_NEWUTS)
socket.sethostname("{name}")
mount = ctypes.CDLL(None).mount
assert mount(None, b"/", None, MS_PRIVATE_RECURSIVELY, None) == 0
assert mount(b"none", b"/run", b"tmpfs", 0, None) == 0
os.mkdir("/run/tunmesh")
"""


def asked(name: str) -> set[str]:
    """The addresses that the node of this network namespace answers with; none if it does not: a
    query may get lost while the node's own address is put on its device, and resolvers ask again.
    It blocks."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.connect(DNS)
        client.send(query(name))
        try:
            answers = read(client.recv(4096)).answers
        except TimeoutError:
            return set()
    return {record.payload.dottedQuad() for record in answers}


class InitTests(unittest.TestCase):
    """Three hosts, called web-1 to web-3."""

    skip = netns.skip_reason()

    def setUp(self) -> None:
        self.ground = Ground(self, 3)
        self.directory = short_directory(self) / "tunmesh"

    def init(self, *arguments: str) -> Path:
        """The config that is written, for the user of these tests and with a log that they read."""
        done = CliRunner().invoke(main, ["init", *arguments, str(self.directory)])
        self.assertEqual(done.exit_code, 0, done.output)
        (config,) = self.directory.rglob("config.yaml")
        text = config.read_text()
        for user in ("uid: tunmesh}", "uid: 65532}"):
            text = text.replace(user, f"uid: {OWNER.uid}}}")
        config.write_text(f"{text}  logging: {{format: json}}\n")
        for path in (config.parent, *config.parent.iterdir()):
            os.chown(path, -1, OWNER.gid)
            path.chmod(0o750 if path.is_dir() else 0o640)
        return config

    def start(self, number: int, config: Path, **environ: str) -> RealNode:
        return self.ground.run(
            number,
            "--config",
            str(config),
            before=HOST.format(name=f"web-{number}"),
            environ={**os.environ, **environ},
        )

    async def address(self, node: RealNode) -> str:
        """The IPv4 address that a node has come by."""
        held = [(await node.logged("address_held"))["address"] for _ in range(2)]
        (ipv4,) = (each.partition("/")[0] for each in held if ":" not in each)
        return str(ipv4)

    async def asks(self, number: int, name: str) -> set[str]:
        def ask() -> set[str]:
            with self.ground.namespace(number):
                return asked(name)

        found: set[str] = await deferToThread(ask)
        return found

    async def lead_to(self, number: int, name: str, addresses: set[str]) -> None:
        """Wait until this node finds that the name leads to these addresses: a claim, and what
        node.names keeps, may reach it a tenth of a second later than the node that made it. Who
        asks without a pause is a flood, and gets no answer (names.endpoint.QUERY_BURST)."""
        while await self.asks(number, name) != addresses:
            await deferLater(reactor, 0.1)

    async def linked(self, nodes: Iterable[RealNode]) -> None:
        for number, node in enumerate(nodes, 1):
            for other in {1, 2, 3} - {number}:
                await node.logged("linked", peer=f"web-{other}")

    async def test_systemd(self) -> None:
        """On hosts: each has an address and answers names; a host that is killed and started again
        has the same address, and its name leads there."""
        config = self.init("systemd", "--bootstrap", "10.99.0.1", "--bootstrap", "10.99.0.2")
        nodes = [self.start(number, config) for number in (1, 2, 3)]
        addresses = [await self.address(node) for node in nodes]
        self.assertEqual(len(set(addresses)), 3)
        await self.linked(nodes)
        await self.lead_to(1, "web.mesh", set(addresses))
        await self.lead_to(1, "web-3.mesh", {addresses[2]})
        nodes[2].signal("KILL")
        await nodes[2].ended
        await nodes[0].logged("unlinked", peer="web-3")
        again = self.start(3, config)
        self.assertEqual(await self.address(again), addresses[2])
        await nodes[0].logged("linked", peer="web-3")
        await again.logged("ready")
        await self.lead_to(1, "web-3.mesh", {addresses[2]})

    async def test_kubernetes(self) -> None:
        """In pods the address for Prometheus and the group come from the environment."""
        config = self.init("kubernetes", "--cluster-dns", "10.99.0.1")
        text = config.read_text().replace("https://tunmesh:4567", "https://10.99.0.1:4567")
        config.write_text(text)
        nodes = [
            self.start(number, config, POD_IP=f"10.99.0.{number}", MESH_GROUP=group)
            for number, group in ((1, "db"), (2, "shop"), (3, "shop"))
        ]
        addresses = [await self.address(node) for node in nodes]
        await self.linked(nodes)
        for node, number in zip(nodes, (1, 2, 3), strict=True):
            monitoring = await node.logged("monitoring")
            self.assertEqual(monitoring["url"], f"http://10.99.0.{number}:9464")
        await self.lead_to(1, "shop.mesh", set(addresses[1:]))
        await self.lead_to(2, "db.mesh", {addresses[0]})

"""The control socket of real nodes, which start as root and have dropped privileges by then."""

from __future__ import annotations

import json
import socket
import stat
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from tests.support import netns
from tests.support.control import command
from tests.support.realnode import Ground, RealNode, reactor
from tunmesh.cli.client import Client
from tunmesh.localmesh.plan import PAGE_PORT

_FETCH = (
    "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=200).read().decode())"
)
ENDS = "10.77.0.1", "10.77.0.2"


class RealControl(unittest.TestCase):
    """`tunmesh …` next to two linked nodes."""

    skip = netns.skip_reason()

    async def asked(self, ground: Ground, *arguments: str, code: int = 0) -> str:
        path = ground.directory / ground.plans[0].socket
        result = await command(path, *arguments)
        self.assertEqual(result.exit_code, code, result.output)
        output: str = result.output
        return output

    async def test_a_life(self) -> None:
        """Wait for a node, look at it, follow it, and drain it: the commands over the life of a
        node."""
        ground = Ground(self, 2)
        alice = ground.start(1)
        path = ground.directory / ground.plans[0].socket
        waited = command(path, "wait", "--for", "10.77.0.2", "--timeout", "200")
        ground.start(2)
        self.assertEqual((await waited).exit_code, 0)

        status: dict[str, Any] = json.loads(await self.asked(ground, "status", "-o", "json"))
        self.assertEqual((status["node"]["name"], status["ready"]), ("node1", True))
        (peer,) = status["peers"]
        self.assertEqual((peer["name"], peer["direction"]), ("node2", "accepted"))
        self.assertEqual(peer["routed"], ["10.77.0.2", "fd77::2"])
        self.assertIn("node2", await self.asked(ground, "status"))
        self.assertIn("fd77::2", await self.asked(ground, "routes"))
        self.assertIn("linked with node1", await self.asked(ground, "graph"))
        self.assertIn("10.77.0.2 is node2's own", await self.asked(ground, "explain", *ENDS))
        first, *_ = (await self.asked(ground, "events")).splitlines()
        self.assertIn(" node1 starts: tunmesh ", first)
        node_id = peer["id"]
        rtt = (await deferToThread(Client(path).post, f"/v1/ping?node={node_id}"))["rtt"]
        self.assertGreater(rtt, 0.0)

        mode = (ground.directory / ground.plans[0].socket).stat().st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o600)
        said = await self.asked(ground, "drain")
        self.assertEqual(
            [line[23:] for line in said.splitlines()],
            ["leaving the mesh", "gone"],
        )
        self.assertEqual(await alice.ended, 0)
        self.assertIn("no node answers", await self.asked(ground, "status", code=1))

    async def test_no_place(self) -> None:
        """If the socket cannot be created, the node says so in a line, and runs."""
        ground = Ground(self)
        ground.change(admin__socket="/proc/control.sock")
        node: RealNode = ground.start()
        said = await node.logged("no_control_socket")
        self.assertIn("admin/socket: cannot listen at /proc/control.sock", said["text"])
        self.assertIn("; choose a directory that can be written to, such as a", said["text"])
        await node.logged("ready")

    async def test_page(self) -> None:
        """The page is available after privileges are dropped, even at a privileged port, and only
        in the node's own namespace."""
        ground = Ground(self)
        ground.change(admin__http_port=80)
        node = ground.start()
        self.assertEqual((await node.logged("page"))["url"], "http://localhost:80/")
        await node.logged("ready")
        for host, code, said in (
            ("127.0.0.1", 0, '<h1 id="name">node1</h1>'),
            ("10.99.0.1", 1, "Connection refused"),
        ):
            with ground.namespace():
                fetched = netns.run_python(reactor, _FETCH, f"http://{host}/")
            out, err, ended = await fetched
            self.assertEqual(ended, code, err)
            self.assertIn(said, (out + err).decode())

    async def test_no_page(self) -> None:
        """If the port is in use, the node says so in a line, and runs."""
        ground = Ground(self)
        with ground.namespace(), socket.create_server(("127.0.0.1", PAGE_PORT)):
            node = ground.start()
            said = await node.logged("no_page")
        self.assertIn("admin/http_port: cannot listen at 127.0.0.1", said["text"])
        await node.logged("ready")

    async def test_killed(self) -> None:
        """A node takes over the socket that its killed predecessor left behind."""
        ground = Ground(self)
        node = ground.start()
        await node.logged("ready")
        node.signal("KILL")
        await node.ended
        again = ground.start()
        await again.logged("ready")
        self.assertIn("node1", await self.asked(ground, "status"))
        self.assertEqual(again.all_logged("no_control_socket"), [])

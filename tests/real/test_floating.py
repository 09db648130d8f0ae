"""Floating addresses on real tun devices: claimed by hand, and by keepalived.

A service runs on every node and says whose it is. A client on another node connects to the floating
address, and learns who has it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.trial import unittest

from tests.real.test_mesh import MeshCase
from tests.real.test_names import need
from tests.support.control import command
from tests.support.realnode import TUN, RealNode, reactor
from tunmesh.localmesh.underlay import CABLE

VIP, VIP6 = "10.77.0.100", "fd77::100"
PORT = 7000
AGAIN = 0.02  # seconds between two attempts of a client
# Seconds for a connection to be made: at first, and after many attempts, on a machine that is busy.
PATIENCE, MOST_PATIENCE = 0.2, 10.0
_AGENT = Path("/usr/lib/ocf/resource.d/heartbeat/anything")
_HOLD = """#!/bin/sh
trap 'tunmesh address release "$1"; exit 0' TERM INT
tunmesh address claim "$1" --wait 10 || [ $? = 2 ] || exit 1
while tunmesh address claim "$1" >/dev/null; do sleep 5 & wait $!; done
exit 1
"""
_TUNMESH = str(Path(sys.executable).with_name("tunmesh"))
_KEEPALIVED = """
global_defs {{
    script_user root
    vrrp_garp_master_repeat 1
}}
vrrp_instance service {{
    state BACKUP
    interface {device}
    virtual_router_id 51
    priority {priority}
    advert_int 1
    nopreempt
    unicast_src_ip {own}
    unicast_peer {{
        {peers}
    }}
    {addresses}
    notify_master "{hook} claim {vip}"
    notify_backup "{hook} release {vip}"
    notify_fault "{hook} release {vip}"
    notify_stop "{hook} release {vip}"
}}
"""


class Sayer(Protocol):
    """Says whose it is, and stays connected."""

    def __init__(self, name: str, open_ones: set[Sayer]) -> None:
        self._name = name.encode()
        self._open = open_ones

    def connectionMade(self) -> None:
        assert self.transport is not None
        self._open.add(self)
        self.transport.write(self._name)

    def connectionLost(self, reason: Failure = Failure(ConnectError())) -> None:  # noqa: B008
        self._open.discard(self)

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class Hearer(Protocol):
    """What it was told first, and how the connection ended."""

    def __init__(self) -> None:
        self.heard: Deferred[str] = Deferred()
        self.ended: Deferred[str] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        if not self.heard.called:
            self.heard.callback(data.decode())

    def connectionLost(self, reason: Failure = Failure(ConnectError())) -> None:  # noqa: B008
        self.ended.callback(reason.getErrorMessage())
        if not self.heard.called:
            self.heard.callback("")


class Daemon(ProcessProtocol):
    """A program that runs until it is killed."""

    def __init__(self) -> None:
        self.text = b""
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.text += data

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(None)

    async def kill(self, by: str = "KILL") -> None:
        if not self.ended.called:
            assert self.transport is not None
            self.transport.signalProcess(by)
            await self.ended


class FloatingCase(MeshCase):
    """Three nodes, on two of which the service may run. The first one is the client."""

    nodes = 3
    floating: Any = (VIP, VIP6)

    def setUp(self) -> None:
        super().setUp()
        for number in (1, 2, 3):
            self.ground.change(number, networking__floating=list(self.floating))

    async def begin(self) -> list[RealNode]:
        nodes = await self.ground.linked(3)
        for number in (2, 3):
            self.serve(number)
        return nodes

    def serve(self, number: int) -> None:
        name, open_ones = self.ground.plans[number - 1].name, set[Sayer]()
        service = Factory.forProtocol(lambda: Sayer(name, open_ones))
        with self.ground.namespace(number):
            port = reactor.listenTCP(PORT, service, interface="::")

        async def end() -> None:
            await port.stopListening()
            for each in tuple(open_ones):  # their clients are gone without a word
                transport: Any = each.transport
                transport.abortConnection()

        self.addCleanup(end)

    async def run_command(self, number: int, *words: str, code: int = 0) -> str:
        path = self.ground.directory / self.ground.plans[number - 1].socket
        result = await command(path, "address", *words)
        self.assertEqual(result.exit_code, code, result.output)
        return str(result.output).strip()

    def on_device(self, number: int) -> set[str]:
        with self.ground.namespace(number), IPRoute() as ip:
            found = ip.get_addr(index=socket.if_nametoindex(TUN))
            return {message.get_attr("IFA_ADDRESS") for message in found}

    async def is_off(self, number: int, address: str = VIP) -> None:
        """Wait until that node's tun does not have the address: the helper takes it off a moment
        after the node has said so."""
        while address in self.on_device(number):
            await deferLater(reactor, AGAIN)

    def connect(self, address: str = VIP, timeout: float = 30.0) -> Deferred[Hearer]:
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        endpoint = kind(reactor, address, PORT, timeout=timeout)
        with self.ground.namespace(1):
            connected: Deferred[Hearer] = connectProtocol(endpoint, Hearer())
        return connected

    async def who(self, address: str = VIP, patience: float = PATIENCE) -> str:
        """Which node answers at the address; "" if none does."""
        try:
            hearer = await self.connect(address, patience)
        except (ConnectError, OSError):
            return ""
        hearer.heard.addTimeout(2 * patience, reactor, lambda *_: "")
        name = await hearer.heard
        assert hearer.transport is not None
        hearer.transport.loseConnection()
        await hearer.ended
        return name

    async def holder(self, address: str = VIP) -> str:
        """Which node is the next one to answer at the address."""
        patience = PATIENCE
        while not (name := await self.who(address, patience)):
            await deferLater(reactor, AGAIN)
            patience = min(1.2 * patience, MOST_PATIENCE)
        return name

    async def reached(self, name: str, address: str = VIP) -> float:
        """Connect again and again until this node answers: how many seconds that took."""
        began = reactor.seconds()
        while await self.holder(address) != name:
            await deferLater(reactor, AGAIN)
        return float(reactor.seconds() - began)

    def cable(self, number: int, state: str) -> None:
        with self.ground.namespace(number), IPRoute() as ip:
            ip.link("set", index=socket.if_nametoindex(CABLE), state=state)

    def measured(self, what: str, seconds: float) -> None:
        """For who looks at the output: docs/floating.md has these figures."""
        if "TUNMESH_SHOW" in os.environ:
            sys.stderr.write(f"\n    {what}: {seconds:.2f} s\n")


class Claims(FloatingCase):
    """Claimed by hand."""

    async def test_moves(self) -> None:
        """A claim puts the address on the tun and clients reach the node; a release hands it to the
        one that waits. A connection that was established breaks."""
        await self.begin()
        self.assertEqual(await self.who(), "")
        said = await self.run_command(2, "claim", VIP, "--wait", "90")
        self.assertEqual(said, f"{VIP} is this node's")
        self.assertIn(VIP, self.on_device(2))
        self.measured("a claim", await self.reached("node2"))
        said = await self.run_command(3, "claim", VIP, "--wait", "0.3", code=2)
        self.assertEqual(said, f"{VIP} is claimed: node2 has it")
        self.assertNotIn(VIP, self.on_device(3))
        established = await self.connect()
        await established.heard
        await self.run_command(2, "release", VIP)
        self.measured("a release", await self.reached("node3"))
        await self.is_off(2)
        self.assertIn(VIP, self.on_device(3))
        assert established.transport is not None
        established.transport.write(b"are you there?")
        self.assertIn("non-clean", await established.ended)
        status = await self.ground.status(1)
        self.assertEqual({p["name"]: p["floating"] for p in status["peers"]}["node3"], [VIP])
        self.assertTrue(status["ready"])

    async def test_ipv6(self) -> None:
        """The same over IPv6; the tun is as before when it is released."""
        await self.begin()
        before = self.on_device(2)
        await self.run_command(2, "claim", VIP6, "--wait", "90")
        await self.reached("node2", VIP6)
        self.assertEqual(self.on_device(2), before | {VIP6})
        await self.run_command(2, "release", VIP6)
        await self.run_command(3, "claim", VIP6, "--wait", "90")
        await self.reached("node3", VIP6)
        await self.is_off(2, VIP6)
        self.assertEqual(self.on_device(2), before)

    async def test_source(self) -> None:
        """What the holder sends from the address arrives; what another node sends from it, because
        a program has put it on the tun there, does not."""
        await self.begin()
        await self.run_command(2, "claim", VIP, "--wait", "90")
        mailbox, place = self.mailbox(1)
        self.post(2, b"from the holder", place, VIP)
        self.assertEqual(await mailbox.post.get(), b"from the holder")
        with self.ground.namespace(3), IPRoute() as ip:
            ip.addr("add", index=socket.if_nametoindex(TUN), address=VIP, prefixlen=32)
        self.post(3, b"not from the holder", place, VIP)
        await self.exchange(3, 1)
        dropped = (await self.ground.status(1))["dropped_packets"]
        self.assertEqual(dropped.get("spoofed_source", 0), 1, dropped)

    async def test_there_already(self) -> None:
        """If the address is on the tun already, as keepalived puts it there, it is left alone, and
        nobody complains."""
        nodes = await self.begin()
        with self.ground.namespace(2), IPRoute() as ip:
            ip.addr("add", index=socket.if_nametoindex(TUN), address=VIP, prefixlen=32)
        await self.run_command(2, "claim", VIP, "--wait", "90")
        await self.reached("node2")
        with self.ground.namespace(2), IPRoute() as ip:
            ip.addr("del", index=socket.if_nametoindex(TUN), address=VIP, prefixlen=32)
        await self.run_command(2, "release", VIP)
        await self.run_command(2, "claim", VIP, "--wait", "90")
        self.assertIn(VIP, self.on_device(2))
        await self.run_command(2, "release", VIP)
        for node in nodes:
            self.assertFalse(node.all_logged("device_changed"))

    async def test_put_back(self) -> None:
        """What others take from the tun is put back with the rest."""
        nodes = await self.begin()
        before = self.on_device(2)
        await self.run_command(2, "claim", VIP, "--wait", "90")
        with self.ground.namespace(2), IPRoute() as ip:
            ip.flush_addr(index=socket.if_nametoindex(TUN))
        await nodes[1].logged("restored")
        while self.on_device(2) != before | {VIP}:  # it may have looked amid the flush
            await deferLater(reactor, AGAIN)
        await self.reached("node2")

    async def test_refused(self) -> None:
        """Nothing but what is in networking/floating can be claimed, and the node says so."""
        await self.ground.linked(2)
        said = await self.run_command(2, "claim", "10.77.0.101", code=1)
        allowed = f"{VIP}/32, {VIP6}/128"
        self.assertIn(
            f"10.77.0.101 may not be claimed here: networking/floating is {allowed}", said
        )
        self.assertNotIn("10.77.0.101", self.on_device(2))

    async def test_dead_holders(self) -> None:
        """A holder that is killed hands it on at once; one whose cable is pulled loses it a second
        after the next claim."""
        nodes = await self.begin()
        await self.run_command(2, "claim", VIP, "--wait", "90")
        await self.reached("node2")
        await self.run_command(3, "claim", VIP)
        nodes[1].signal("KILL")
        took = await self.reached("node3")
        self.measured("the holder's node is killed, another one waits", took)
        again = self.ground.start(2)
        for name in ("node1", "node3"):
            await again.logged("linked", peer=name)
        await self.run_command(2, "claim", VIP)
        self.assertEqual(await self.holder(), "node3")
        await self.run_command(2, "release", VIP)
        self.cable(3, "down")
        await self.run_command(2, "claim", VIP)
        took = await self.reached("node2")
        self.measured("the holder's cable is pulled, and another node claims", took)
        self.cable(3, "up")
        await nodes[2].logged("floating_lost")
        await self.is_off(3)
        self.assertEqual(await self.holder(), "node2")


class Elected(FloatingCase):
    """keepalived elects, over the mesh."""

    def keepalived(self, number: int, with_address: bool = False) -> Daemon:
        """Start it beside a node. With the address, it puts that on the tun itself."""
        directory = self.ground.directory
        hook = directory / f"hook{number}"
        path = directory / self.ground.plans[number - 1].socket
        hook.write_text(
            f"#!/bin/sh\nexec >>{hook}.log 2>&1\n"
            f'exec flock {hook}.lock {_TUNMESH} address "$1" "$2" --socket {path}\n'
        )
        hook.chmod(0o755)
        config = directory / f"keepalived{number}.conf"
        others = [self.address(each) for each in (2, 3) if each != number]
        config.write_text(
            _KEEPALIVED.format(
                device=TUN,
                priority={2: 200, 3: 100}[number],
                own=self.address(number),
                peers="\n        ".join(others),
                addresses=f"virtual_ipaddress {{ {VIP}/32 dev {TUN} }}" if with_address else "",
                hook=hook,
                vip=VIP,
            )
        )
        config.chmod(0o644)
        daemon = Daemon()
        pids = [f"--{kind}={directory}/ka{number}.{kind}" for kind in ("pid", "vrrp_pid")]
        with self.ground.namespace(number):
            reactor.spawnProcess(
                daemon,
                "/usr/sbin/keepalived",
                ["keepalived", "-n", "-l", "-P", "-f", str(config), *pids],
                env={"PATH": os.environ["PATH"]},
            )
        self.addCleanup(daemon.kill, "TERM")
        return daemon

    async def kill_keepalived(self, number: int, daemon: Daemon) -> None:
        """The master process and its child, without a chance to say goodbye."""
        child = int(Path(f"{self.ground.directory}/ka{number}.vrrp_pid").read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)  # first: when its master dies, it says goodbye
        await daemon.kill()

    async def test_fails_over(self) -> None:
        """The address follows keepalived's master: when keepalived ends, when the master's node is
        killed, and when the master is cut off."""
        need("keepalived", "flock")
        nodes = await self.begin()
        second = self.keepalived(2)
        self.measured("keepalived starts", await self.reached("node2"))
        third = self.keepalived(3)
        await deferLater(reactor, 2)
        await second.kill("TERM")
        self.measured("keepalived ends", await self.reached("node3"))
        second = self.keepalived(2)
        await deferLater(reactor, 4)
        self.assertEqual(await self.holder(), "node3", "it takes nothing back")
        nodes[2].signal("KILL")
        self.measured("the master's node is killed", await self.reached("node2"))
        await third.kill("TERM")
        nodes[2] = self.ground.start(3)
        for name in ("node1", "node2"):
            await nodes[2].logged("linked", peer=name)
        third = self.keepalived(3)
        await deferLater(reactor, 4)
        self.assertEqual(await self.holder(), "node2", "it takes nothing back")
        self.cable(2, "down")
        self.measured("the master is cut off", await self.reached("node3"))
        self.cable(2, "up")
        while len((await self.ground.status(2))["peers"]) < 2:
            await deferLater(reactor, AGAIN)
        await self.stays()

    async def stays(self) -> None:
        """Whoever has it by then, one node has it: within seconds the two agree."""
        await deferLater(reactor, 6)
        while await self.who() not in (have := self.have()) or len(have) > 1:
            await deferLater(reactor, AGAIN)

    def have(self) -> list[str]:
        """On whose tuns it is."""
        return [f"node{number}" for number in (2, 3) if VIP in self.on_device(number)]

    async def test_puts_the_address_itself(self) -> None:
        """With the address in virtual_ipaddress the two agree: keepalived puts it on the tun, and
        the mesh leads there; nobody complains about the device."""
        need("keepalived", "flock")
        nodes = await self.begin()
        second = self.keepalived(2, with_address=True)
        await self.reached("node2")
        self.keepalived(3, with_address=True)
        await deferLater(reactor, 2)
        await second.kill("TERM")
        await self.reached("node3")
        await self.is_off(2)
        for node in nodes:
            self.assertFalse(node.all_logged("device_changed"))

    async def test_killed_keepalived(self) -> None:
        """keepalived that is killed runs no hook, and its node lives: another node's claim does not
        take the address away from it, until it is released there."""
        need("keepalived", "flock")
        await self.begin()
        second = self.keepalived(2)
        await self.reached("node2")
        self.keepalived(3)
        await deferLater(reactor, 2)
        await self.kill_keepalived(2, second)
        while not (claims := (await self.ground.status(3))["node"]["floating"]):
            await deferLater(reactor, AGAIN)
        self.assertEqual([each["state"] for each in claims], ["waiting"])
        await deferLater(reactor, 2)
        self.assertEqual(await self.holder(), "node2")
        await self.run_command(2, "release", VIP)
        self.measured("keepalived is killed, the address is released", await self.reached("node3"))


class Resources(FloatingCase):
    """The agent of Pacemaker that runs a program, with the script of docs/floating.md."""

    async def agent(self, number: int, action: str) -> int:
        """The exit code of the agent."""
        directory = self.ground.directory
        path = directory / self.ground.plans[number - 1].socket
        script = directory / f"hold-address{number}"
        script.write_text(_HOLD.replace("tunmesh", f"TUNMESH_SOCKET={path} {_TUNMESH}"))
        script.chmod(0o755)
        environ = {
            "PATH": os.environ["PATH"],
            "OCF_ROOT": "/usr/lib/ocf",
            "OCF_RESOURCE_INSTANCE": f"address{number}",
            "OCF_RESKEY_binfile": str(script),
            "OCF_RESKEY_cmdline_options": VIP,
            "OCF_RESKEY_pidfile": f"{directory}/resource{number}.pid",
            "OCF_RESKEY_logfile": f"{directory}/resource{number}.log",
        }
        with self.ground.namespace(number):
            running = getProcessOutputAndValue(str(_AGENT), [action], environ, reactor=reactor)
        _, _, code = await running
        return int(code)

    async def test_started_and_stopped(self) -> None:
        """The address is there as long as the resource is started, and moves with it."""
        if not _AGENT.exists():
            raise unittest.SkipTest("resource-agents (ocf:heartbeat:anything) is not installed")
        await self.begin()
        self.assertEqual(await self.agent(2, "monitor"), 7, "not running")
        self.assertEqual(await self.agent(2, "start"), 0)
        self.measured("a resource starts", await self.reached("node2"))
        self.assertEqual(await self.agent(2, "monitor"), 0)
        self.assertEqual(await self.agent(3, "start"), 0)
        self.assertEqual(await self.holder(), "node2")
        self.assertEqual(await self.agent(2, "stop"), 0)
        self.measured("a resource stops, another one waits", await self.reached("node3"))
        self.assertEqual(await self.agent(3, "stop"), 0)
        await self.is_off(3)

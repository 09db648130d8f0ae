"""The helper process itself, in real namespaces: what it does, what it may, and who attacks it.

The other end of its socket plays a node whose process that faces the network was taken over.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import socket
import sys
import time
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from twisted.internet import reactor as trial_reactor
from twisted.trial import unittest

import tunmesh
from tests.support import netns
from tests.support.places import short_directory
from tests.support.starts import STARTS
from tunmesh.addresses import link_local_of
from tunmesh.assigner import wire
from tunmesh.assigner.allowance import Device, Family
from tunmesh.assigner.helper import BURST, RATE
from tunmesh.assigner.start import start
from tunmesh.assigner.wire import PUT, TAKE_OFF
from tunmesh.dataplane.tun import open_tun
from tunmesh.errors import OperatorError
from tunmesh.host.namespaces import Namespace
from tunmesh.netlink.changes import segment
from tunmesh.netlink.overlaps import Overlay
from tunmesh.netlink.setup import configure

reactor: Any = trial_reactor

NET4, NET6 = ip_network("10.77.0.0/16"), ip_network("fd77::/48")
FAMILIES = (Family(NET4, 24, True, (ip_address("10.77.0.9"),)), Family(NET6, 64, False))
OVERLAYS = (Overlay(NET4, (), True, prefix=24), Overlay(NET6, prefix=64))
USER = 65534


class NoProcessTests(unittest.SynchronousTestCase):
    """A machine, or a container, that may have no more processes."""

    def test_said(self) -> None:
        """The start says so, in one line."""

        def fork() -> int:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

        self.patch(os, "fork", fork)
        with self.assertRaisesRegex(OperatorError, "is the number of processes limited"):
            start(USER, USER, 1, HelperCase.device)


class HelperCase(unittest.TestCase):
    """A tun without addresses, and its helper."""

    skip = netns.skip_reason()
    overlays: tuple[Overlay, ...] = OVERLAYS
    device = Device(FAMILIES, 1400)

    def setUp(self) -> None:
        self.pod = Namespace.create()
        self.addCleanup(self.pod.close)
        with self.pod:
            netns.loopback_up()
            self.addCleanup(os.close, open_tun("tun1"))
            configure("tun1", self.overlays, self.device.mtu, self.device.queue)
            before = children()
            index = socket.if_nametoindex("tun1")
            self.node, self.unfiltered = start(USER, USER, index, self.device)
        self.node.setblocking(True)
        (self.pid,) = children() - before
        self.addCleanup(self.end)

    def end(self) -> int:
        """It ends with its node, whatever else happened to it. Returns how it ended."""
        self.node.close()
        if self.pid:
            self.ending = os.waitpid(self.pid, 0)[1]
            self.pid = 0
        return self.ending

    def ask(self, what: int, address: str) -> tuple[int, str]:
        prefix = 64 if ":" in address else 24
        return self.send(wire.Request(what, ip_interface(f"{address}/{prefix}")).encode())

    def send(self, data: bytes) -> tuple[int, str]:
        self.node.send(data)
        return wire.read_answer(self.node.recv(wire.MAX_ANSWER))

    def addresses(self) -> list[str]:
        with self.pod, IPRoute() as ip:
            messages = ip.get_addr(index=socket.if_nametoindex("tun1"))
            return sorted(f"{m.get_attr('IFA_ADDRESS')}/{m['prefixlen']}" for m in messages)

    def routes(self) -> set[tuple[str, int]]:
        """What is routed to the tun: destination and kind (1: unicast, 3: broadcast)."""
        with self.pod, IPRoute() as ip:
            found = ip.get_routes(oif=socket.if_nametoindex("tun1"))
            return {
                (f"{route.get_attr('RTA_DST')}/{route['dst_len']}", route["type"])
                for route in found
                if route["type"] in (1, 3)
            }

    def source_for(self, destination: str) -> str:
        with self.pod, IPRoute() as ip:
            (route,) = ip.route("get", dst=destination)
            self.assertEqual(route.get_attr("RTA_OIF"), self.index())
            return str(route.get_attr("RTA_PREFSRC"))

    def index(self) -> int:
        with self.pod:
            return socket.if_nametoindex("tun1")


class Work(HelperCase):
    """What a node asks for."""

    def test_put(self) -> None:
        """An address can be used at once, from the local subnet and from the whole network, and
        broadcasts to all nodes are known as such."""
        for address, near, far in (
            ("10.77.3.5", "10.77.3.9", "10.77.200.1"),
            ("fd77:0:0:3::5", "fd77:0:0:3::9", "fd77:0:0:9::1"),
        ):
            self.assertEqual(self.ask(PUT, address), (0, ""))
            self.assertEqual(self.source_for(near), address)
            self.assertEqual(self.source_for(far), address)
            family = socket.AF_INET if "." in address else socket.AF_INET6
            with self.pod, socket.socket(family, socket.SOCK_STREAM) as bound:
                bound.bind((address, 0))
        self.assertEqual(self.addresses(), ["10.77.3.5/24", "fd77:0:0:3::5/64"])
        self.assertIn(("10.77.255.255/32", 3), self.routes())
        with self.pod:
            segments = netns.segments("tun1")
        ipv4, ipv6 = segment(4, 1400), segment(6, 1400)
        near4, near6 = ("10.77.3.0/24", ipv4), ("fd77:0:0:3::/64", ipv6)
        self.assertEqual(segments, {near4, near6, (str(NET4), ipv4), (str(NET6), ipv6)})

    def test_move(self) -> None:
        """The new address comes before the old one goes; then everything is as if the new one had
        always been there, also where both are in one subnet."""
        for old, new in (
            ("10.77.3.5", "10.77.3.6"),
            ("10.77.3.6", "10.77.9.1"),
            ("fd77:0:0:3::5", "fd77:0:0:3::6"),
        ):
            self.ask(PUT, old)
            self.assertEqual(self.ask(PUT, new), (0, ""))
            self.assertEqual(self.ask(TAKE_OFF, old), (0, ""))
            self.assertNotIn(old, str(self.addresses()))
            network = "10.77.200.1" if "." in new else "fd77:0:0:9::1"
            self.assertEqual(self.source_for(network), new)
        self.assertEqual(self.addresses(), ["10.77.9.1/24", "fd77:0:0:3::6/64"])
        self.assertIn(("10.77.255.255/32", 3), self.routes())

    def test_none_left(self) -> None:
        """When the last address goes, the network is routed to the tun as before, so that nothing
        leaves another way."""
        before = self.routes()
        for address in ("10.77.3.5", "fd77::5"):
            self.ask(PUT, address)
            self.assertEqual(self.ask(TAKE_OFF, address), (0, ""))
        self.assertEqual(self.addresses(), [])
        self.assertEqual(self.routes(), before)
        self.assertIn(("10.77.0.0/16", 1), before)

    def test_somebody_else_took_it(self) -> None:
        """What another program has taken off is taken off."""
        self.ask(PUT, "10.77.3.5")
        with self.pod, IPRoute() as ip:
            ip.addr("del", index=self.index(), address="10.77.3.5", prefixlen=24)
        self.assertEqual(self.ask(TAKE_OFF, "10.77.3.5"), (0, ""))
        self.assertIn(("10.77.0.0/16", 1), self.routes())

    def test_device_gone(self) -> None:
        """A device that is gone is an error for the node, not the end of the helper."""
        with self.pod, IPRoute() as ip:
            ip.link("del", index=self.index())
        code, why = self.ask(PUT, "10.77.3.5")
        self.assertEqual((code, why), (errno.ENODEV, os.strerror(errno.ENODEV)))
        self.assertEqual(self.ask(PUT, "192.0.2.1")[0], errno.EPERM)


class PutBack(HelperCase):
    """What others take from a device with static addresses, of which two are in one subnet, with a
    link-local address of the node's, and with a route to a network outside the mesh."""

    own = tuple(map(ip_interface, ("10.77.3.5/24", "10.77.3.6/24", "fd77:0:0:3::5/64")))
    overlays = (
        Overlay(NET4, own[:2], True),
        Overlay(NET6, own[2:], multicast=True),
        Overlay(ip_network("198.18.0.0/24"), is_behind=True),
    )
    device = Device(
        (Family(NET4, 0, True, (), own[:2]), Family(NET6, 0, False, (), own[2:], True)),
        1400,
        700,
        (ip_network("198.18.0.0/24"),),
    )

    def everything(self, pod: Namespace | None = None) -> dict[str, object]:
        """All that a start sets of the device."""
        with pod or self.pod, IPRoute() as ip:
            index = socket.if_nametoindex("tun1")
            (link,) = ip.get_links(index)
            found: dict[str, object] = {
                "up": bool(link["flags"] & 1),
                "flags": link["flags"] & ~1,
                "MTU": link.get_attr("IFLA_MTU"),
                "queue": link.get_attr("IFLA_TXQLEN"),
                "piece": link.get_attr("IFLA_GSO_MAX_SIZE"),
                "segments": netns.segments("tun1"),
                "addresses": {
                    (m.get_attr("IFA_ADDRESS"), m["prefixlen"], m.get_attr("IFA_BROADCAST"))
                    for m in ip.get_addr(index=index)
                },
            }
            found["routes"] = {
                (
                    f"{route.get_attr('RTA_DST')}/{route['dst_len']}",
                    route["type"],
                    route["table"],
                    route.get_attr("RTA_PRIORITY"),
                    route.get_attr("RTA_PREFSRC"),
                )
                for route in ip.get_routes(oif=index)
                if route["type"] != 5 and route.get_attr("RTA_DST")  # multicast
            }
        return found

    def test_anything(self) -> None:
        """Whatever was taken, afterwards all is as a start makes it."""
        before = self.everything()
        self.assertEqual((before["MTU"], before["queue"]), (1400, 700))
        index = self.index()
        takes: list[tuple[str, dict[str, Any]]] = [
            ("link", {"index": index, "state": "down"}),
            ("link", {"index": index, "mtu": 1300}),
            ("link", {"index": index, "mtu": 1000}),  # takes IPv6 away
            ("link", {"index": index, "txqlen": 5}),
        ]
        for what, options in takes:
            with self.pod, IPRoute() as ip:
                getattr(ip, what)("set", **options)
            self.assertNotEqual(self.everything(), before)
            self.assertEqual(self.send(wire.Request(wire.RESTORE).encode()), (0, ""))
            self.assertEqual(self.everything(), before, options)
        for address, prefix in (("10.77.3.5", 24), ("10.77.3.6", 24), ("fd77:0:0:3::5", 64)):
            with self.pod, IPRoute() as ip:
                ip.addr("del", index=index, address=address, prefixlen=prefix)
            self.assertEqual(self.send(wire.Request(wire.RESTORE).encode()), (0, ""))
            self.assertEqual(self.everything(), before, address)
        for network in ("10.77.0.0/16", "10.77.3.0/24", "fd77::/48", "198.18.0.0/24"):
            with self.pod, IPRoute() as ip:
                scope = {} if ":" in network else {"scope": 253}
                ip.route("del", dst=network, oif=index, **scope)
            self.assertEqual(self.send(wire.Request(wire.RESTORE).encode()), (0, ""))
            self.assertEqual(self.everything(), before, network)

    def test_down_and_small(self) -> None:
        """IPv6 comes back after an MTU that was too small for it, also of a device that is down,
        and the kernel does not get to make a link-local address."""
        before = self.everything()
        with self.pod, IPRoute() as ip:
            ip.link("set", index=self.index(), mtu=576)
            ip.link("set", index=self.index(), state="down")
            ip.link("set", index=self.index(), mtu=1500)  # IPv6 begins anew
        self.assertEqual(self.send(wire.Request(wire.RESTORE).encode()), (0, ""))
        self.assertEqual(self.everything(), before)
        with self.pod, IPRoute() as ip:
            ip.link("set", index=self.index(), mtu=576)
            ip.link("set", index=self.index(), mtu=1500)
        self.assertEqual(self.send(wire.Request(wire.RESTORE).encode()), (0, ""))
        self.assertEqual(self.everything(), before)

    def test_link(self) -> None:
        """Another MTU and queue; what is advised to TCP goes with it."""
        self.assertEqual(self.send(wire.Request(wire.LINK, None, 9000, 2000).encode()), (0, ""))
        now = self.everything()
        self.assertEqual((now["MTU"], now["queue"]), (9000, 2000))
        self.assertEqual(dict(now["segments"])["10.77.0.0/16"], segment(4, 9000))  # type: ignore[call-overload]
        self.assertEqual(self.send(wire.Request(wire.LINK, None, 1280).encode()), (0, ""))
        now = self.everything()
        self.assertEqual((now["MTU"], now["queue"]), (1280, 2000))
        self.assertEqual(dict(now["segments"])["fd77::/48"], 1280 - 60)  # type: ignore[call-overload]
        self.assertEqual(self.send(wire.Request(wire.LINK, None, 1279).encode())[0], errno.EPERM)

    def test_as_after_a_start(self) -> None:
        """Whichever addresses come and go, in the end the device is as a start would make it."""
        draw = random.Random(16)
        subnets = (
            *("10.77.3.{}/24", "10.77.4.{}/16", "10.77.5.{}/32", "10.77.6.{}/30"),
            *("fd77:0:0:3::{}/64", "fd77:0:0:4::{}/48", "fd77:0:0:5::{}/128"),
        )
        pool = [ip_interface(each.format(n)) for each in subnets for n in (1, 2)]
        held = list(self.own)
        for _ in range(40):
            own = draw.choice([*pool, *self.own])
            of_family = [each for each in held if each.version == own.version]
            what = TAKE_OFF if own in held else PUT
            if what == TAKE_OFF and len(of_family) == 1:
                continue
            self.assertEqual(self.send(wire.Request(what, own).encode()), (0, ""), own)
            held = [each for each in held if each != own] + [own] * (what == PUT)
        with Namespace.create() as pod:
            netns.loopback_up()
            self.addCleanup(os.close, open_tun("tun1"))
            overlays = [
                replace(each, addresses=tuple(a for a in held if a.version == each.network.version))
                for each in self.overlays[:2]
            ]
            configure("tun1", [*overlays, self.overlays[2]], 1400, 700)
        self.addCleanup(pod.close)
        self.assertEqual(self.everything(), self.everything(pod))

    def test_exchange(self) -> None:
        """A static address is exchanged for another one; packets leave from the new one."""
        self.assertEqual(self.ask(PUT, "10.77.4.4"), (0, ""))
        for address in ("10.77.3.5", "10.77.3.6"):
            self.assertEqual(self.ask(TAKE_OFF, address), (0, ""))
        left = ["10.77.4.4/24", "fd77:0:0:3::5/64", str(link_local_of(self.own[2]))]
        self.assertEqual(self.addresses(), left)
        self.assertEqual(self.source_for("10.77.200.1"), "10.77.4.4")
        self.assertEqual(self.source_for("198.18.0.1"), "10.77.4.4")
        before = self.everything()
        with self.pod, IPRoute() as ip:
            ip.link("set", index=self.index(), state="down")
        self.assertEqual(self.send(wire.Request(wire.RESTORE).encode()), (0, ""))
        self.assertEqual(self.everything(), before)


class Attacks(HelperCase):
    """A node that was taken over."""

    def test_foreign_addresses(self) -> None:
        """Nothing but hosts of the mesh's networks is put, and nothing that it did not put is taken
        off."""
        with self.pod, IPRoute() as ip:
            before = [str(message) for message in ip.get_addr()]
        for address in ("192.0.2.1", "10.78.0.1", "10.77.3.0", "10.77.0.9", "fe80::1", "::1"):
            self.assertEqual(self.ask(PUT, address)[0], errno.EPERM, address)
        for address in ("127.0.0.1", "::1", "10.77.3.5"):
            self.assertEqual(self.ask(TAKE_OFF, address)[0], errno.EPERM, address)
        with self.pod, IPRoute() as ip:
            self.assertEqual([str(message) for message in ip.get_addr()], before)

    def test_many_addresses(self) -> None:
        """Not more than two of a family are on the device at any time."""
        codes = [self.ask(PUT, f"10.77.3.{n}")[0] for n in range(1, 6)]
        self.assertEqual(codes, [0, 0, errno.EPERM, errno.EPERM, errno.EPERM])
        self.assertEqual(len(self.addresses()), 2)

    def test_foreign_settings(self) -> None:
        """The device gets no MTU and no queue that the config could not say, whatever the number,
        and putting back is all that can be asked for besides."""
        with self.pod, IPRoute() as ip:
            before = str(ip.get_links(self.index())[0]["attrs"][:12])
        for mtu, queue in (
            (1279, 0),
            (68, 0),
            (65_522, 0),
            (1 << 31, 0),
            (0, 10_001),
            (1, 1 << 31),
        ):
            code, _ = self.send(wire.Request(wire.LINK, None, mtu, queue).encode())
            self.assertEqual(code, errno.EPERM, (mtu, queue))
        for what in (0, 5, 6, 255):
            self.assertEqual(self.send(bytes([what]))[0], errno.EPERM)
        with self.pod, IPRoute() as ip:
            self.assertEqual(str(ip.get_links(self.index())[0]["attrs"][:12]), before)

    def test_malformed(self) -> None:
        """Requests of any other form are refused, and the next good one is answered."""
        good = wire.Request(PUT, ip_interface("10.77.3.5/24")).encode()
        for bad in (b"x", good[:-1], good + b"x", good * 1000, b"\xff" * wire.MAX_REQUEST):
            self.assertEqual(self.send(bad)[0], errno.EPERM)
        self.assertEqual(self.send(good), (0, ""))

    def test_descriptors(self) -> None:
        """Descriptors that are sent along are not taken."""
        socket.send_fds(
            self.node, [wire.Request(PUT, ip_interface("10.77.3.5/24")).encode()], [0, 1, 2]
        )
        self.assertEqual(wire.read_answer(self.node.recv(wire.MAX_ANSWER)), (0, ""))
        self.assertEqual(len(list(Path(f"/proc/{self.pid}/fd").iterdir())), 4)

    def test_flood(self) -> None:
        """Requests are answered at a fixed rate, whatever the number that waits; memory and kernel
        see no more of them than that."""
        self.node.setblocking(False)
        began = time.monotonic()
        with self.assertRaises(BlockingIOError):
            while True:
                self.node.send(wire.Request(TAKE_OFF, ip_interface("10.77.3.5/24")).encode())
        self.node.settimeout(200)
        for _ in range(BURST + 5):
            self.node.recv(wire.MAX_ANSWER)
        self.assertGreater(time.monotonic() - began, 0.9 * 4 / RATE)

    def test_answers_are_not_read(self) -> None:
        """A node that reads no answers makes the helper wait; it still ends with the node."""
        self.node.setblocking(False)
        with self.assertRaises(BlockingIOError):
            while True:
                self.node.send(b"x")

    def test_signals(self) -> None:
        """Signals to the process group, as from a terminal or systemd, do not end it before the
        node has left its mesh."""
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGALRM"):
            os.kill(self.pid, signal.Signals[name])
        self.assertEqual(self.ask(PUT, "10.77.3.5"), (0, ""))

    def test_killed(self) -> None:
        """When it is killed, the node's socket is at its end."""
        os.kill(self.pid, signal.SIGKILL)
        self.assertEqual(self.node.recv(1), b"")

    def test_node_ends(self) -> None:
        """It ends when the node does, with exit code 0."""
        self.assertEqual(self.end(), 0)

    async def test_neighbour(self) -> None:
        """A process of the same uid cannot look into it, nor attach to it."""
        out, err, code = await netns.run_python(reactor, NEIGHBOUR, str(self.pid), str(USER))
        self.assertEqual((err, code), (b"", 0))
        self.assertEqual(set(out.decode().split()), {"EACCES", "EPERM"})


class Confinement(HelperCase):
    """What the kernel says of the helper."""

    def status(self) -> dict[str, str]:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def test_privileges(self) -> None:
        """One capability, of one kind; another user; nothing to be gained by executing."""
        status = self.status()
        self.assertEqual(status["Uid"].split(), [str(USER)] * 4)
        self.assertEqual(status["Gid"].split(), [str(USER)] * 4)
        self.assertEqual(status["Groups"], "")
        for kind in ("CapInh", "CapBnd", "CapAmb"):
            self.assertEqual(int(status[kind], 16), 0, kind)
        for kind in ("CapPrm", "CapEff"):
            self.assertEqual(int(status[kind], 16), 1 << 12, kind)
        self.assertEqual((status["NoNewPrivs"], status["Threads"]), ("1", "1"))
        self.assertEqual(status["Seccomp"], "0" if self.unfiltered else "2")

    def test_descriptors(self) -> None:
        """It has its socket, standard error, and two netlink sockets; no file of the node."""
        held = {fd.name: os.readlink(fd) for fd in Path(f"/proc/{self.pid}/fd").iterdir()}
        self.assertEqual(set(held), {"0", "2", "3", "4"})
        self.assertTrue(all(held[fd].startswith("socket:") for fd in "034"), held)

    def test_nothing_of_the_node(self) -> None:
        """Its environment is empty, and its memory is that of a small program of its own, without
        a library for the link-local addresses that it does not make."""
        self.assertEqual(Path(f"/proc/{self.pid}/environ").read_bytes(), b"")
        modules = Path(f"/proc/{self.pid}/maps").read_text()
        self.assertEqual([name for name in ("cryptography", "libcrypto") if name in modules], [])
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        (private,) = (line.split()[1] for line in rollup.splitlines() if "Private_Dirty" in line)
        self.assertLess(int(private), 9000)

    async def test_system_calls(self) -> None:
        """Once it is confined it can open no socket and no file, connect to nothing, execute and
        start nothing, and map no memory that can be executed."""
        with self.pod:
            running = netns.run_python(reactor, CONFINED)
        out, err, code = await running
        self.assertEqual((err, code), (b"", 0))
        why, *lines = out.decode().splitlines()
        if why:
            raise unittest.SkipTest(f"no filter of system calls on this machine: {why}")
        self.assertEqual(set(lines), {"EPERM"})
        self.assertEqual(len(lines), 11)


class Beginnings(unittest.TestCase):
    """It works from every starting point that a node has."""

    skip = netns.skip_reason()

    async def outcome(self, preparation: str) -> list[str]:
        """What a process prints that has started the helper after this preparation."""
        package = short_directory(self)
        package.chmod(0o755)
        shutil.copytree(Path(tunmesh.__file__).parent, package / "tunmesh")
        code = BEGINNING.replace("PREPARE", STARTS + preparation)
        with Namespace.create() as pod:
            running = netns.run_python(reactor, code, str(package), python_for_all())
        try:
            out, err, exit_code = await running
        finally:
            pod.close()
        self.assertEqual((err.decode(), exit_code), ("", 0))
        text = out.decode()
        if text.startswith("SKIP "):
            raise unittest.SkipTest(text.removeprefix("SKIP "))
        return text.splitlines()

    async def run_from(self, preparation: str) -> dict[str, str]:
        """What /proc/PID/status says of a helper that has put an address."""
        lines = await self.outcome(preparation)
        self.assertEqual(lines[0], "(0, '')")
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def assert_confined(self, status: dict[str, str], uid: int) -> None:
        self.assertEqual(status["Uid"].split(), [str(uid)] * 4)
        self.assertEqual((int(status["CapEff"], 16), int(status["CapPrm"], 16)), (4096, 4096))
        self.assertEqual((int(status["CapInh"], 16), int(status["CapAmb"], 16)), (0, 0))

    async def test_root(self) -> None:
        """Root with all capabilities."""
        status = await self.run_from("uid = 65534")
        self.assert_confined(status, 65534)
        self.assertEqual(int(status["CapBnd"], 16), 0)

    async def test_container_root(self) -> None:
        """Root with NET_ADMIN, SETUID and SETGID only."""
        self.assert_confined(await self.run_from("uid = 65534; capset(6, 7, 12)"), 65534)

    async def test_ambient(self) -> None:
        """The right uid already, with NET_ADMIN as an ambient capability."""
        prepare = "uid = 65534; os.setgroups([]); become(65534, 12); privileges.keep_across_exec()"
        self.assert_confined(await self.run_from(prepare), 65534)

    async def test_own_user_namespace(self) -> None:
        """All capabilities, in a user namespace of its own."""
        prepare = "uid = 65534; os.setgroups([]); become(65534); own_user_namespace()"
        self.assert_confined(await self.run_from(prepare), 65534)

    async def test_without_net_admin(self) -> None:
        """Without NET_ADMIN one line says what is missing."""
        (line,) = await self.outcome("uid = 65534; left = (6, 7)")
        self.assertIn("the helper process for the device: ", line)
        self.assertIn("CAP_NET_ADMIN is missing", line)


def python_for_all() -> str:
    """A Python that every user may execute: that of the tests may be in somebody's home."""
    for python in (Path(sys.executable), Path("/usr/bin/python3")):
        place = python.resolve()
        if os.access(place, os.X_OK) and all(each.stat().st_mode & 1 for each in place.parents):
            return str(python)
    raise unittest.SkipTest("there is no Python here that every user may execute")


def children() -> set[int]:
    """The processes that this thread has started."""
    return set(map(int, Path("/proc/thread-self/children").read_text().split()))


NEIGHBOUR = """
import ctypes, errno, os, sys
pid, uid = map(int, sys.argv[1:])
os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
libc = ctypes.CDLL(None, use_errno=True)
for name in ("mem", "environ", "maps"):
    try:
        open(f"/proc/{pid}/{name}", "rb").read()
        print("open")
    except OSError as error:
        print(errno.errorcode[error.errno])
try:
    os.listdir(f"/proc/{pid}/fd")
except OSError as error:
    print(errno.errorcode[error.errno])
if libc.ptrace(0x4206, pid, 0, 0) < 0:  # PTRACE_SEIZE
    print(errno.errorcode[ctypes.get_errno()])
"""

CONFINED = """
import ctypes, errno, mmap, os, socket, sys
from tunmesh.assigner.allowance import Allowance, Device
from tunmesh.assigner.hand import Hand
from tunmesh.host import privileges, seccomp

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
hand = Hand(1, Allowance(Device(())))
asked = hand._asked
spare = socket.socket()
names = dict(errno.errorcode)
privileges.drop(65534, 65534, keep=privileges.NET_ADMIN)
os.write(1, seccomp.allow_only().encode() + b"\\n")

def call(function, *arguments):
    if function(*arguments) in (-1, 2**64 - 1):
        raise OSError(ctypes.get_errno(), "")

for attempt in (
    lambda: socket.socket(),
    lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    lambda: socket.socketpair(),
    lambda: spare.connect(("127.0.0.1", 1)),
    lambda: spare.bind(("127.0.0.1", 0)),
    lambda: os.open("/etc/passwd", os.O_RDONLY),
    lambda: os.open("/tmp/x", os.O_WRONLY | os.O_CREAT),
    lambda: os.execv("/bin/true", ["true"]),
    lambda: os.fork(),
    lambda: call(libc.mmap, None, 4096, 5, 0x22, -1, 0),
    lambda: call(libc.syscall, 310, os.getpid(), 0, 0, 0, 0, 0),
):
    try:
        attempt()
        os.write(1, b"allowed\\n")
    except OSError as error:
        os.write(1, names[error.errno].encode() + b"\\n")
os._exit(0)
"""

BEGINNING = """
import ctypes, os, socket, sys
import tunmesh
from ipaddress import ip_interface, ip_network
from tunmesh.assigner import wire
from tunmesh.assigner.allowance import Device, Family
from tunmesh.assigner.start import start
from tunmesh.dataplane.tun import open_tun
from tunmesh.errors import OperatorError
from tunmesh.host import namespaces, privileges
from tunmesh.netlink.overlaps import Overlay
from tunmesh.netlink.setup import configure

libc = ctypes.CDLL(None)
left = ()
tunmesh.__file__ = sys.argv[1] + "/tunmesh/__init__.py"
sys.executable = sys.argv[2]

PREPARE
net = ip_network("10.77.0.0/16")
tun = open_tun("tun1")
configure("tun1", [Overlay(net, prefix=16)], 1400)
if left:
    # Root would get back what is in its bounding set.
    for capability in set(range(41)) - set(left):
        libc.prctl(24, capability, 0, 0, 0)
    capset(*left)
try:
    helper, _ = start(uid, uid, socket.if_nametoindex("tun1"), Device((Family(net, 16, False),)))
except OperatorError as error:
    print(error)
    sys.exit()
helper.setblocking(True)
helper.send(wire.Request(wire.PUT, ip_interface("10.77.3.5/16")).encode())
print(wire.read_answer(helper.recv(600)))
(pid,) = open("/proc/self/task/%d/children" % os.getpid()).read().split()
print(open(f"/proc/{pid}/status").read())
"""

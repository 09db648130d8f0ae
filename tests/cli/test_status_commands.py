"""The commands that show what a node knows, as people see them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from click import unstyle
from click.testing import CliRunner
from twisted.internet import reactor as trial_reactor
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from tests.observe.test_metrics import sample_of
from tests.support.control import CLAIMED, EPOCH, HELD, FakeNode, command
from tunmesh.cli import views
from tunmesh.cli.main import main
from tunmesh.status.health import Check, UrlReports
from tunmesh.status.multicast import GroupStatus, MulticastStatus
from tunmesh.status.node import DeviceStatus
from tunmesh.status.peers import LEADS_BACK, DialStatus, LostNode, UdpStatus

reactor: Any = trial_reactor


class Commands(unittest.TestCase):
    """The output of `tunmesh` for people."""

    def setUp(self) -> None:
        self.node = FakeNode(self)

    async def says(self, *arguments: str, code: int = 0) -> str:
        result = await command(self.node.path, *arguments)
        self.assertEqual(result.exit_code, code, result.output)
        output: str = result.output
        return output

    async def test_status(self) -> None:
        """A line for this node and one for each peer, none wider than a terminal."""
        text = await self.says("status")
        first, names, keys, blank, head, bravo, charlie = text.splitlines()
        self.assertEqual(
            names, "names below mesh at 10.77.255.254; queries: 50 answered, 51 nxdomain"
        )
        self.assertEqual(first, "alpha  10.77.1.1/24  ready, up 1m30s, linked 2 of 4 expected")
        self.assertEqual(
            keys,
            "secrets in use, by place: 1 (offered) by 2 peers, 2 by 0 peers",
        )
        self.assertEqual(blank, "")
        self.assertEqual(head.split()[:5], ["PEER", "ADDRESS", "LINK", "VIA", "SINCE"])
        self.assertEqual(" ".join(bravo.split()[:7]), "bravo 10.77.1.2 out tcp 1m40s 1.00ms 0%")
        self.assertEqual(" ".join(charlie.split()[:7]), "charlie 10.77.1.3 out udp 1m40s 41ms 0.1%")
        self.assertLessEqual(max(map(len, text.splitlines())), 80)

    async def test_long_names(self) -> None:
        """Names are cut in the middle, as far as the terminal demands; not in a pipe, nor with
        `-o wide`."""
        name = "web-7d9f8b6c5d-x2x4z-of-a-long-name"
        bravo, charlie = self.node.now.peers
        bravo = replace(bravo, record=replace(bravo.record, name=name))
        self.node.now = replace(self.node.now, peers=(bravo, charlie))
        tree = json.loads(await self.says("status", "-o", "json"))
        for columns, wide, shown in (
            (76, False, "web-7d9…ong-name"),
            (120, False, name),
            (None, False, name),
            (80, True, name),
        ):
            text = unstyle("\n".join(views.status(tree, wide, columns)))
            self.assertIn(f"\n{shown}  10.77.1.2", text)
        lines = unstyle("\n".join(views.status(tree, False, 84))).splitlines()
        self.assertEqual(max(map(len, lines)), 84)

    async def test_status_without_an_address(self) -> None:
        """What a node only claims is no address of it yet."""
        record = self.node.now.record
        claimed = replace(HELD, state="claiming", address=str(record.addresses[0]))
        self.node.now = replace(self.node.now, automatic=(claimed,))
        first, *_ = (await self.says("status")).splitlines()
        self.assertTrue(first.startswith("alpha  no address yet  "), first)
        tree = json.loads(await self.says("status", "-o", "json"))
        self.assertEqual(tree["node"]["addresses"], [])
        self.assertEqual(tree["node"]["automatic"][0]["address"], str(record.addresses[0]))

    async def test_address(self) -> None:
        """Each own address: static, or how it came to be chosen, and what was in the way."""
        self.assertEqual(
            (await self.says("address")).splitlines(),
            [
                "ADDRESS       KIND    STATE  FOR  CHOSEN AS",
                "10.77.1.1/24  static",
                f"others dial {self.node.now.record.url}",
            ],
        )
        url = UrlReports(3, 2)
        self.node.now = replace(self.node.now, automatic=(HELD, CLAIMED), url=url)
        lines = (await self.says("address", code=2)).splitlines()
        self.assertEqual(
            [line.split(maxsplit=4) for line in lines[:3]],
            [
                ["ADDRESS", "KIND", "STATE", "FOR", "CHOSEN AS"],
                ["10.77.1.1/24", "auto", "held", "1m", "choice 3 in 10.77.0.0/16"],
                ["fd77::1/64", "auto", "claiming", "1m", "choice 1 in fd77::/64"],
            ],
        )
        self.assertEqual(
            lines[3:],
            [
                "10.77.8.9 was passed over: bravo has it",
                "10.77.3.4 was passed over: another node has it",
                f"others dial {self.node.now.record.url} (2 of 3 that tried it reached this node)",
            ],
        )
        self.node.now = replace(self.node.now, automatic=(HELD,))
        await self.says("address")

    async def test_address_json(self) -> None:
        """The same for programs."""
        self.node.now = replace(self.node.now, automatic=(HELD,))
        tree = json.loads(await self.says("address", "-o", "json"))
        self.assertEqual(tree["addresses"], ["10.77.1.1/24"])
        self.assertEqual(tree["url"], self.node.now.record.url)
        (own,) = tree["automatic"]
        self.assertEqual((own["state"], own["usable"], own["number"]), ("held", True, 2))
        self.assertEqual(own["passed_over"][0], {"address": "10.77.8.9", "node": "bravo"})

    async def test_full_network(self) -> None:
        """A node for which there is no address says so, with the numbers."""
        full = replace(HELD, state="full", address="", is_on_device=False)
        reason = "no IPv4 address: the network 10.77.0.0/16 is full"
        check = Check("address", False, reason)
        self.node.now = replace(self.node.now, automatic=(full,), ready=(check,))
        lines = (await self.says("address", code=2)).splitlines()
        self.assertEqual(lines[-1], f"! {reason}")
        self.assertEqual(lines[-5].split()[:5], ["none", "(IPv4)", "auto", "full", "1m"])

    async def test_status_problems(self) -> None:
        """Problems come first, in words, and the exit code tells of them."""
        bad = replace(self.node.now.ready[0], ok=False, reason="not linked to any node")
        dial = DialStatus("delta", False, "192.0.2.4:4567", 3, "Connection refused", 4.2)
        self.node.now = replace(
            self.node.now,
            ready=(bad,),
            peers=(),
            dials=(dial,),
            certificate_expiry=EPOCH,
            names=None,
        )
        lines = (await self.says("status", code=2)).splitlines()
        self.assertIn("not ready", lines[0])
        self.assertEqual(
            lines[1:4] + lines[5:6],
            [
                "! not linked to any node",
                "! no link with delta at 192.0.2.4:4567: Connection refused (3 times, again in 4"
                " s)",
                "! the certificate has expired",
                "",
            ],
        )
        self.assertEqual(lines[-1].split(), ["delta", "192.0.2.4:4567", "down"])

    async def test_bootstrap_leads_back(self) -> None:
        """A bootstrap group that leads to the node itself is a problem only while it is alone:
        where all nodes share one config the first one is linked with others all the same."""
        dial = DialStatus("first", True, "192.0.2.4:4567", 3, LEADS_BACK, 4.2)
        self.node.now = replace(self.node.now, dials=(dial,))
        self.assertNotIn("leads to this node", await self.says("status"))
        self.node.now = replace(self.node.now, peers=())
        self.assertIn("leads to this node", await self.says("status"))

    async def test_status_fits_the_terminal(self) -> None:
        """On a terminal long sentences are wrapped between words; elsewhere each is one line."""
        reason = "tun1 has no address 10.77.1.1: " + "ip addr add 10.77.1.1/24 dev tun1; " * 5
        bad = Check("device", False, reason.strip())
        self.node.now = replace(self.node.now, ready=(bad,))
        tree = json.loads(await self.says("status", "-o", "json", code=2))
        self.assertIn(f"! {bad.reason}", unstyle("\n".join(views.status(tree))).splitlines())
        shown = unstyle("\n".join(views.status(tree, columns=80))).splitlines()
        self.assertLessEqual(max(map(len, shown)), 80)
        start = shown.index(next(line for line in shown if line.startswith("! tun1")))
        again = " ".join(line.strip() for line in shown[start : shown.index("", start)])
        self.assertTrue(again.startswith(f"! {bad.reason}"))

    async def test_narrow_terminal(self) -> None:
        """Where long addresses leave no room, columns are left out, and names are cut so that they
        can be told apart."""
        tree = json.loads(await self.says("status", "-o", "json"))
        for number, peer in enumerate(tree["peers"]):
            peer["name"] = f"frontend-{number}.prod.eu-central-1.example.internal"
            peer["addresses"] = [f"fd77::aaaa:bbbb:cccc:{number}"]
        for columns, titles in (
            (80, ["LINK", "VIA", "SINCE", "RTT", "LOSS", "RX/s", "TX/s"]),
            (62, ["LINK", "VIA", "SINCE", "RTT"]),
        ):
            lines = unstyle("\n".join(views.status(tree, False, columns))).splitlines()
            head = next(line for line in lines if line.startswith("PEER"))
            self.assertEqual(head.split(), ["PEER", "ADDRESS", *titles])
            table = lines[lines.index(head) :]
            self.assertLessEqual(max(map(len, table)), columns)
            self.assertTrue(table[1].startswith("frontend-0…"), table)

    async def test_status_lost(self) -> None:
        """The first few nodes that were linked are shown; that some left without a bye is a problem
        for an hour."""
        nodes = [
            LostNode(f"n{ago}", f"192.0.2.{ago}:4567", 60.0 * ago, ago < 3, ago, "refused", 4.2)
            for ago in (1, 2, 3, 4, 5, 6, 61)
        ]
        self.node.now = replace(self.node.now, lost=tuple(nodes))
        lines = (await self.says("status")).splitlines()
        self.assertIn("! lost without a goodbye, being dialed: n3, n4, n5, n6", lines)
        self.assertEqual(lines[-6].split(), ["n1", "192.0.2.1:4567", "left", "1m"])
        self.assertEqual(lines[-2].split(), ["n5", "192.0.2.5:4567", "lost", "5m"])
        self.assertEqual(lines[-1], "and 2 more that were linked (-o wide shows them)")
        self.assertIn("n61", await self.says("status", "-o", "wide"))
        others = json.loads(await self.says("status", "-o", "json"))["others"]
        self.assertEqual(others, self.node.now.nodes_known + 4)  # n3 to n6
        many = [replace(node, left=False, ago=1.0) for node in nodes]
        self.node.now = replace(self.node.now, lost=tuple(many))
        self.assertIn("n1, n2, n3, n4, n5 and 2 more", await self.says("status"))

    async def test_duplicate(self) -> None:
        """Two nodes with one address are both named, at either of them."""
        first, second, *_ = self.node.now.peers
        twin = replace(second, record=replace(second.record, addresses=first.record.addresses))
        self.node.now = replace(self.node.now, peers=(first, replace(twin, routed=())))
        address = first.routed[0]
        text = await self.says("status")
        names = f"{first.record.name} and {second.record.name}"
        self.assertIn(f"! two nodes have the address {address}: {names}", text)

    async def test_lately(self) -> None:
        """Recent drops and failures are a problem, old ones are not."""
        self.node.history.sample(sample_of(self.node.now))
        self.assertNotIn("!", await self.says("status"))
        old = self.node.now
        self.node.now = replace(
            old,
            now=old.now + 60,
            dropped={**old.dropped, "queue_full": 7},
            handshake_failures={"bad_proof": 41},
        )
        text = await self.says("status")
        self.assertIn("! 1 connection did not become a link in the last 60 s: a wrong proof", text)
        self.assertIn("! 7 packets dropped in the last 60 s: queue_full", text)

    async def test_doctor(self) -> None:
        """Problems of a node are warnings while it is ready, and failures when it is not."""
        self.node.now = replace(self.node.now, certificate_expiry=EPOCH)
        complaint = "the certificate has expired"
        config = Path(self.mktemp())
        config.write_text("tun_mesh: {}\n")
        self.assertIn(f"  ?   {complaint}", await self.says("doctor", str(config), code=2))
        bad = replace(self.node.now.ready[0], ok=False)
        self.node.now = replace(self.node.now, ready=(bad,))
        self.assertIn(f"  NO  {complaint}", await self.says("doctor", str(config), code=2))

    async def test_doctor_about_udp(self) -> None:
        """Where UDP does not get through is a doubt, with the reason and what helps; nothing is
        said where UDP is switched off."""
        config = Path(self.mktemp())
        config.write_text("tun_mesh: {}\n")
        self.assertNotIn("UDP", await self.says("doctor", str(config), code=2))
        bravo, charlie = self.node.now.peers
        bravo = replace(bravo, udp=UdpStatus("UDP to 192.0.2.2:4567 is not answered"))
        self.node.now = replace(self.node.now, transport="auto", peers=(bravo, charlie))
        text = await self.says("doctor", str(config), code=2)
        why = "UDP to 192.0.2.2:4567 is not answered"
        self.assertIn(f"  ?   no UDP with bravo ({why}): TCP is used\n", text)
        port = self.node.now.port
        self.assertIn(f"  ?   where UDP is wanted, let it through to port {port} of both", text)
        free = "  ok  UDP gets through to 1 of {} nodes that offer it, and is used with 1\n"
        self.assertIn(free.format(2), text)
        bravo = replace(bravo, udp=UdpStatus("the peer does not offer UDP", is_offered=False))
        self.node.now = replace(self.node.now, peers=(bravo, charlie))
        text = await self.says("doctor", str(config), code=2)
        self.assertIn(free.format(1), text)
        self.assertNotIn("no UDP with", text)

    async def test_udp_demanded(self) -> None:
        """Where UDP is demanded, each node that is reached over TCP is a problem, with the
        reason."""
        bravo, charlie = self.node.now.peers
        why = "UDP to 192.0.2.2:4567 is not answered"
        bravo = replace(bravo, udp=UdpStatus(why))
        self.node.now = replace(self.node.now, transport="udp", peers=(bravo, charlie))
        lines = (await self.says("status")).splitlines()
        demanded = "! networking/transport is udp, but packets to 1 node go over TCP"
        self.assertIn(f"{demanded}: bravo ({why})", lines)
        self.node.now = replace(self.node.now, transport="auto")
        self.assertNotIn("networking/transport", await self.says("status"))

    async def test_relayed(self) -> None:
        """A relayed link names its relay and, with -o wide, why there is no direct one."""
        bravo, charlie = self.node.now.peers
        charlie = replace(charlie, relay=bravo.record.id, why_relayed="no answer within 5 s")
        self.node.now = replace(self.node.now, peers=(bravo, charlie))
        *_, line = (await self.says("status")).splitlines()
        self.assertIn("  relay bravo  ", line)
        *_, line = (await self.says("status", "-o", "wide")).splitlines()
        self.assertTrue(line.endswith("no direct link: no answer within 5 s"), line)
        tree = json.loads(await self.says("status", "-o", "json"))
        relays = [peer["relay"] for peer in tree["peers"]]
        through = {"id": bravo.record.id, "name": "bravo", "why": "no answer within 5 s"}
        self.assertEqual(relays, [None, through])

    async def test_wide(self) -> None:
        """`-o wide` says why packets go this way."""
        *_, charlie = (await self.says("status", "-o", "wide")).splitlines()
        self.assertTrue(charlie.endswith("round trip 41 ms, 0.15 % lost"), charlie)

    async def test_device(self) -> None:
        """`-o wide` shows the MTU, and what else is known of the device."""
        device = DeviceStatus("tun1", ("10.77.0.0/16",))
        for changes, line in (
            ({}, "tun1: MTU 1500"),
            ({"has_helper": True}, "tun1: MTU 1500; a helper process puts back what others change"),
            (
                {"mtu": 9000, "queue": 2000, "has_helper": True, "restored": 3},
                "tun1: MTU 9000, txqueuelen 2000; a helper process puts back what others change"
                " (3 times so far)",
            ),
        ):
            self.node.now = replace(self.node.now, device=replace(device, **changes))
            self.assertIn(line, (await self.says("status", "-o", "wide")).splitlines())

    async def test_routes(self) -> None:
        """Which node has which address."""
        text = await self.says("routes")
        rows = [line.split() for line in text.splitlines()[1:]]
        self.assertEqual(rows[0][:2], ["10.77.1.1", "alpha"])
        self.assertEqual(rows[1], ["10.77.1.2", "bravo", "https://bravo:4567"])
        routes = json.loads(await self.says("routes", "-o", "json"))["routes"]
        self.assertEqual(routes, {row[0]: row[1] for row in rows})

    async def test_multicast(self) -> None:
        """Which group who is in, from which sources; or that multicast is off."""
        groups = (
            GroupStatus("224.0.0.251", "all", (("bravo", "all"), ("charlie", "all but 10.77.1.2"))),
            GroupStatus("232.1.1.1", "", (("bravo", "10.77.1.1"),)),
        )
        status = MulticastStatus((4,), groups, 3, 5, 0, left_out=False)
        self.node.now = replace(self.node.now, multicast=status)
        text = await self.says("multicast")
        self.assertEqual(
            text.splitlines(),
            [
                "IPv4: 3 packets sent, in 5 copies",
                "",
                "GROUP        HERE  NODES",
                "224.0.0.251  yes   bravo, charlie (from all but 10.77.1.2)",
                "232.1.1.1    -     bravo (from 10.77.1.1)",
            ],
        )
        tree = json.loads(await self.says("multicast", "-o", "json"))["multicast"]
        self.assertEqual([each["group"] for each in tree["groups"]], ["224.0.0.251", "232.1.1.1"])
        self.node.now = replace(self.node.now, multicast=None)
        self.assertIn("enable_multicast", await self.says("multicast"))

    async def test_colours(self) -> None:
        """On a terminal there are colours, unless they are switched off."""
        line = ["status", "--socket", str(self.node.path)]
        for environ, coloured in (
            ({"NO_COLOR": "", "TERM": "xterm"}, True),
            ({"NO_COLOR": "1", "TERM": "xterm"}, False),
            ({"NO_COLOR": "", "TERM": "dumb"}, False),
        ):
            result = await deferToThread(CliRunner().invoke, main, line, env=environ, color=True)
            self.assertEqual("\x1b[" in result.output, coloured)

    async def test_graph(self) -> None:
        """Which nodes are linked, also those whose name is not known yet."""
        lines = (await self.says("graph")).splitlines()
        self.assertEqual(lines[0], "alpha  10.77.1.1  linked with bravo, charlie")
        self.assertEqual(lines[1], "bravo  10.77.1.2  linked with all 3 others")
        self.assertEqual(lines[3].split(), ["99999999", "linked", "with", "bravo"])
        dot = await self.says("graph", "--dot")
        self.assertEqual((dot.count(" -- "), dot.count("label=")), (4, 4))
        self.assertNotIn("left out", dot + "".join(lines))

    async def test_too_many_links(self) -> None:
        """The output says when links are left out."""
        self.node.is_whole = False
        for options in ((), ("--dot",)):
            self.assertIn(
                "left out", (await self.says("graph", *options)).splitlines()[-1 - len(options)]
            )

    async def test_names_in_a_graph(self) -> None:
        """A name that a peer chose stays inside its label, whatever characters it has."""
        first, second = self.node.now.peers
        record = replace(first.record, name='b"];evil[x="\\n\\')
        self.node.now = replace(self.node.now, peers=(replace(first, record=record), second))
        dot = await self.says("graph", "--dot")
        self.assertIn(r'[label="b\"];evil[x=\"\\n\\\n10.77.1.2"];', dot)
        quoted = r'"(?:[^"\\]|\\.)*"'
        for line in dot.splitlines()[1:-1]:
            self.assertRegex(line, rf"^  {quoted} (\[label={quoted}\]|-- {quoted});$")

    async def test_events(self) -> None:
        """Past events, or only the last ones."""
        for number in range(3):
            self.node.log.info("linked with {peer}", event="linked", peer=f"node{number}")
        self.node.log.debug("a detail", event="detail")
        lines = (await self.says("events", "-n", "2")).splitlines()
        self.assertEqual(
            [line[9:] for line in lines], [f"info  link    linked with node{n}" for n in "12"]
        )

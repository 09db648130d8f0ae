"""The way of a packet in sentences; the last one says why it ends, with the reason in metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.observe.test_metrics import a_status, peer_of, record_of
from tests.packets.test_virtio import PLAIN, ip_packet
from tunmesh.addresses import Network
from tunmesh.dataplane.drops import DropReason
from tunmesh.dataplane.groups import Groups
from tunmesh.dataplane.table import Table
from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.multicast.audience import Audience
from tunmesh.multicast.own import OwnInterests
from tunmesh.observe.explain import Explainer
from tunmesh.packets import virtio
from tunmesh.packets.group_records import Kind, Record
from tunmesh.status.node import Status
from tunmesh.status.peers import DialStatus, KnownNode, UdpStatus
from tunmesh.status.traffic import IcmpAnswers, Traffic
from tunmesh.wire.floating import FloatingClaim
from tunmesh.wire.interests import Interest, Interests
from tunmesh.wire.records import NodeRecord

NETWORKS = (ip_network("10.77.0.0/16"),)
DIAL = DialStatus("delta", False, "192.0.2.4:4567", 1, "Connection refused", 1.0)
SIGHTS = (
    KnownNode("4" * 32, record_of("delta", 4), ()),
    KnownNode(a_status().peers[0].record.id, record_of("bravo", 2), ()),
)


@dataclass(frozen=True, eq=False)
class Linked:
    """A node that a table routes to: equal to nothing but itself."""

    record: NodeRecord


def table_of(
    status: Status,
    networks: Sequence[Network] = NETWORKS,
    broadcasts: bool = False,
    groups: Groups[Linked] | None = None,
) -> Table[Linked]:
    """The table of the node that has this status."""
    table: Table[Linked] = Table(status.record.addresses, networks, broadcasts, groups=groups)
    for peer in status.peers:
        linked = Linked(peer.record)
        table.join(linked, peer.record.addresses)
        for address in peer.routed:
            table.route(ip_address(address).packed, linked)
    return table


class Explanations(unittest.SynchronousTestCase):
    """Of a node with 10.77.1.1 that is linked with bravo (.2) and charlie (.3)."""

    def setUp(self) -> None:
        self.status: Status = replace(a_status(), dials=(DIAL,))

    def last(self, source: str, destination: str, carried: bool, broadcasts: bool = False) -> str:
        table = table_of(self.status, broadcasts=broadcasts)
        explainer = Explainer(self.status, SIGHTS, table, NETWORKS)
        steps = explainer.explain(ip_address(source), ip_address(destination))
        self.assertEqual([step.ok for step in steps], [True] * (len(steps) - 1) + [carried])
        return steps[-1].text

    def test_out(self) -> None:
        """A packet of this host to a linked node arrives."""
        text = self.last("10.77.1.1", "10.77.1.2", True)
        self.assertIn("10.77.1.2 is bravo's own", text)

    def test_relayed(self) -> None:
        """A relayed link names its relay, and why there is no direct one."""
        bravo, charlie = self.status.peers
        charlie = replace(charlie, relay=bravo.record.id, why_relayed="no answer within 5 s")
        status = replace(self.status, peers=(bravo, charlie))
        explainer = Explainer(status, SIGHTS, table_of(status), NETWORKS)
        steps = explainer.explain(ip_address("10.77.1.1"), ip_address("10.77.1.3"))
        text = (
            "packets to charlie go through bravo, which cannot read them: there is no direct link"
        )
        self.assertIn(f"{text}: no answer within 5 s", [step.text for step in steps])

    def test_way(self) -> None:
        """It is said whether it goes over TCP or UDP, and why."""

        def says(destination: str) -> str:
            explainer = Explainer(self.status, SIGHTS, table_of(self.status), NETWORKS)
            steps = explainer.explain(ip_address("10.77.1.1"), ip_address(destination))
            return next(step.text for step in steps if step.text.startswith("packets to "))

        self.assertEqual(
            says("10.77.1.3"),
            "packets to charlie go over UDP to 192.0.2.3:4567, up to 1472 bytes in a datagram: "
            "shortest round trip 41 ms, 0.15 % lost",
        )
        self.assertEqual(says("10.77.1.2"), "packets to bravo go over TCP: this node uses no UDP")
        bravo, charlie = self.status.peers
        bravo = replace(bravo, udp=UdpStatus("UDP to 192.0.2.2:4567 is not answered"))
        self.status = replace(self.status, peers=(bravo, charlie))
        self.assertEqual(
            says("10.77.1.2"),
            "packets to bravo go over TCP: UDP to 192.0.2.2:4567 is not answered",
        )
        bravo = replace(bravo, segment=1188)
        self.status = replace(self.status, peers=(bravo, charlie))
        self.assertEqual(
            says("10.77.1.2"),
            "packets to bravo go over TCP in segments of at most 1188 bytes: UDP to "
            "192.0.2.2:4567 is not answered",
        )

    def test_floating(self) -> None:
        """Of an address that floats it is said who holds it, and who waits; what this node holds is
        its own."""
        vip = ip_address("10.77.0.100")
        bravo, charlie = self.status.peers
        holds = replace(bravo.record, floating=(FloatingClaim(vip, 1, True),))
        waits = replace(charlie.record, floating=(FloatingClaim(vip, 3),))
        bravo = replace(bravo, record=holds, routed=(*bravo.routed, str(vip)))
        me = replace(self.status.record, floating=(FloatingClaim(vip, 2),))
        peers = (bravo, replace(charlie, record=waits))
        self.status = replace(self.status, record=me, peers=peers)
        explainer = Explainer(self.status, SIGHTS, table_of(self.status), NETWORKS)
        steps = [each.text for each in explainer.explain(ip_address("10.77.1.1"), vip)]
        said = "10.77.0.100 floats: bravo holds it; waiting: alpha, charlie"
        self.assertIn(said, steps)
        me = replace(me, floating=(FloatingClaim(vip, 2, True),))
        self.status = replace(a_status(), record=me)
        self.assertIn("is this node's too", self.last("10.77.1.1", str(vip), False))
        self.assertIn("bravo", self.last(str(vip), "10.77.1.2", True))

    def test_in(self) -> None:
        """A packet of a linked node arrives here."""
        self.assertIn("goes to the tun", self.last("10.77.1.3", "10.77.1.1", True))

    def test_no_route(self) -> None:
        """No node has the address; or one has it that is not linked, and why; or another node holds
        it."""
        text = self.last("10.77.1.1", "10.77.1.9", False)
        self.assertIn("(no_route). No node that this one knows of has it", text)
        text = self.last("10.77.1.1", "10.77.1.4", False)
        self.assertIn("no link with delta: 192.0.2.4:4567: Connection refused", text)
        bravo = replace(self.status.peers[0], routed=())
        self.status = replace(self.status, peers=(bravo, self.status.peers[1]))
        text = self.last("10.77.1.1", "10.77.1.2", False)
        self.assertIn("bravo claims it, but another node holds it", text)

    def test_answers(self) -> None:
        """What the application is told: an error, or nothing as long as the node has not joined;
        and from which size on a packet is too big for the other end."""
        text = self.last("10.77.1.1", "10.77.1.9", False)
        self.assertTrue(text.endswith("has not been in its mesh for a second yet"), text)
        self.status = replace(self.status, answers=IcmpAnswers(is_answering=True))
        for destination in ("10.77.1.9", "8.8.8.8"):
            text = self.last("10.77.1.1", destination, False)
            self.assertTrue(text.endswith("host unreachable, so that connect() fails at once"))
        bravo, charlie = self.status.peers
        bravo = replace(bravo, record=replace(bravo.record, mtu=1280))
        self.status = replace(self.status, peers=(bravo, charlie))
        explainer = Explainer(self.status, SIGHTS, table_of(self.status), NETWORKS)
        for destination, size in (("10.77.1.2", "an MTU of 1280"), ("10.77.1.3", "")):
            steps = explainer.explain(ip_address("10.77.1.1"), ip_address(destination))
            texts = [step.text for step in steps if "(too_big)" in step.text]
            self.assertEqual(len(texts), bool(size))
            self.assertTrue(all(size in text for text in texts))

    def test_refused(self) -> None:
        """A peer that routes this node's address to another node does not get packets from it."""
        bravo, charlie = self.status.peers
        bravo = replace(bravo, refuses=("10.77.1.1",))
        self.status = replace(self.status, peers=(bravo, charlie))
        text = self.last("10.77.1.1", "10.77.1.2", False)
        self.assertIn("bravo does not route 10.77.1.1 to this node", text)
        self.assertIn("(refused)", text)

    def test_dns_address(self) -> None:
        """Packets to the DNS address are answered here."""
        self.assertIn("the DNS address", self.last("10.77.1.1", "10.77.255.254", True))

    def test_groups(self) -> None:
        """A packet to a group goes to who has joined it; why it goes to nobody, or is not heard
        here, is said."""
        own = OwnInterests()
        groups: Audience[Linked] = Audience((4,), own)
        table = table_of(self.status, groups=groups)
        explainer = Explainer(self.status, SIGHTS, table, NETWORKS)

        def says(source: str, destination: str) -> str:
            steps = explainer.explain(ip_address(source), ip_address(destination))
            return "; ".join(step.text for step in steps)

        me, bravo, group, mdns = "10.77.1.1", "10.77.1.2", "239.1.2.3", "224.0.0.251"
        self.assertIn("no linked node is in 239.1.2.3 (multicast)", says(me, group))
        self.assertIn("no linked node of the local subnet is in", says(me, mdns))
        self.assertIn("no program here has joined 239.1.2.3 on the tun", says(bravo, group))
        self.assertIn("in one local subnet only", says(bravo, mdns))
        interest = Interest(ip_address(group).packed)
        said = Interests(1, True, frozenset({4}), (interest,))
        linked = table.routes[ip_address(bravo).packed]
        groups.heard(linked, said, lambda: MemoryBudget().account(""))
        self.assertIn("a group that they have joined: a copy goes to bravo", says(me, group))
        own.reported([Record(Kind.TO_EXCLUDE, interest.group)])
        self.assertIn("a group that is joined here: it goes to the tun", says(bravo, group))

    def test_not_ours(self) -> None:
        """Addresses that no node can have, or that are not carried."""
        for destination, reason in {
            "8.8.8.8": "outside_network",
            "224.0.0.1": "multicast",
            "10.77.255.255": "broadcast",
        }.items():
            self.assertIn(f"({reason})", self.last("10.77.1.1", destination, False))
        self.assertIn("never sends it out", self.last("10.77.1.1", "10.77.1.1", False))

    def test_broadcast(self) -> None:
        """Each of the three broadcast addresses leads to those that accept it, and nowhere if
        broadcast is off or there are none; one that arrives is accepted where broadcast is on."""
        distant = replace(peer_of("far", 9, Traffic()), routed=("10.77.9.9",))
        record = replace(distant.record, addresses=(ip_interface("10.77.9.9/24"),))
        self.status = replace(
            self.status, peers=(*self.status.peers, replace(distant, record=record))
        )
        for destination, hearers in {
            "255.255.255.255": "bravo, charlie",
            "10.77.1.255": "bravo, charlie",
            "10.77.255.255": "bravo, charlie, far",
        }.items():
            off = self.last("10.77.1.1", destination, False)
            self.assertIn("(broadcast)", off)
            on = self.last("10.77.1.1", destination, True, broadcasts=True)
            self.assertTrue(on.endswith(f"where enable_broadcast is on: {hearers}"), on)
            off = self.last("10.77.1.2", destination, False)
            self.assertIn("broadcast is off here", off)
            self.assertIn("(misrouted)", off)
            on = self.last("10.77.1.2", destination, True, broadcasts=True)
            self.assertIn("a broadcast that this node hears", on)
        many = [replace(peer_of(f"n{n}", n, Traffic())) for n in range(2, 12)]
        self.status = replace(self.status, peers=tuple(many))
        text = self.last("10.77.1.1", "10.77.1.255", True, broadcasts=True)
        self.assertIn("n10, n11, n2, n3, n4 and 5 more", text)
        self.status = replace(self.status, peers=())
        text = self.last("10.77.1.1", "10.77.1.255", False, broadcasts=True)
        self.assertIn("nobody hears it (broadcast)", text)

    def test_spoofed(self) -> None:
        """Sources that are not accepted, here or there."""
        self.assertIn("(spoofed_source)", self.last("192.0.2.1", "10.77.1.2", False))
        self.assertIn("(spoofed_source)", self.last("10.77.1.9", "10.77.1.1", False))
        refusing = replace(self.status.peers[0], refuses=("10.77.1.1",))
        self.status = replace(self.status, peers=(refusing,))
        text = self.last("10.77.1.1", "10.77.1.2", False)
        self.assertIn("bravo does not route 10.77.1.1 to this node", text)
        text = self.last("10.77.1.2", "10.77.1.1", False)
        self.assertIn("bravo does not route 10.77.1.1 to this node: it sends it elsewhere", text)

    def test_elsewhere(self) -> None:
        """Between two other nodes, and between address families."""
        self.assertIn("ask bravo", self.last("10.77.1.2", "10.77.1.3", False))
        self.assertIn("different families", self.last("10.77.1.1", "fd77::1", False))


POOL = """
    10.77.1.1 10.77.1.2 10.77.1.3 10.77.9.9 10.77.1.77 10.77.8.8 10.77.1.0 10.77.1.255 10.77.9.255
    10.77.255.255 255.255.255.255 0.0.0.0 127.0.0.1 8.8.8.8 224.0.0.1 240.0.0.1 fd77::1 fd77::2
    fd77::9 fd77::ffff:ffff:ffff:ffff fd78::1 :: ff02::1 fe80::1
"""
ADDRESSES = st.sampled_from(POOL.split())
OWN = (ip_interface("10.77.1.1/24"), ip_interface("fd77::1/64"))
MESHES = (ip_network("10.77.0.0/16"), ip_network("fd77::/64"))
# Of each peer: the addresses that it claims, those that are routed to it, those that it refuses.
PEERS = st.lists(
    st.tuples(
        st.sampled_from(["10.77.1.2/24", "10.77.1.3/24", "10.77.9.9/24", "fd77::2/64"]),
        st.booleans(),
        st.sets(st.sampled_from(["10.77.1.1", "fd77::1"])),
    ),
    max_size=3,
    unique_by=lambda peer: peer[0],
)


class BesideTheTable(unittest.SynchronousTestCase):
    """The explanations agree with the real table."""

    @settings(max_examples=300, deadline=None)
    @given(PEERS, st.sampled_from([1, 2]), st.booleans(), ADDRESSES, ADDRESSES)
    def test_same(
        self,
        peers: list[tuple[str, bool, set[str]]],
        families: int,
        broadcasts: bool,
        start: str,
        end: str,
    ) -> None:
        """A packet is said to arrive exactly if the table carries it and the other end has not
        refused it; otherwise the table's own reason is given. In both directions, with addresses of
        all kinds, in a mesh with IPv6 and in one without."""
        status = replace(
            a_status(),
            record=replace(record_of("alpha", 1), addresses=OWN[:families]),
            peers=tuple(
                replace(
                    peer_of(f"peer{number}", number, Traffic()),
                    record=replace(
                        record_of(f"peer{number}", number), addresses=(ip_interface(address),)
                    ),
                    routed=(address.split("/")[0],) if routed else (),
                    refuses=tuple(refuses),
                )
                for number, (address, routed, refuses) in enumerate(peers, 2)
            ),
        )
        table = table_of(status, MESHES[:families], broadcasts)
        source, destination = ip_address(start), ip_address(end)
        steps = Explainer(status, (), table, MESHES[:families]).explain(source, destination)
        *_, last = steps
        self.assertTrue(all(step.ok for step in steps[:-1]), steps)
        mine = [address.ip for address in OWN[:families]]
        if source.version != destination.version or (source in mine and destination in mine):
            self.assertFalse(last.ok)
            return
        frame = PLAIN + ip_packet(start, end, b"payload")
        refuses = {peer.record.name: peer.refuses for peer in status.peers}
        if source in mine:
            batches, drops = table.outbound([frame])
            reasons = {reason for reason, _ in drops}
            takers = {
                each.record.name for each in batches if start not in refuses[each.record.name]
            }
            is_single = destination.packed in table.routes
            refused = DropReason.REFUSED if is_single else DropReason.SPOOFED_SOURCE
            reasons |= {refused} if batches else set()
        else:
            fates = {
                linked.record.name: table.inbound(linked, [memoryview(frame)])
                for linked in table.routes.values()
            }
            takers = {name for name, (taken, _) in fates.items() if taken}
            takers = {name for name in takers if end not in refuses[name]}
            owner = table.routes.get(source.packed)
            reasons = {DropReason.SPOOFED_SOURCE} if owner is None else {DropReason.NO_ROUTE}
            if owner is not None:
                reasons |= {reason for reason, _ in fates[owner.record.name][1]}
        self.assertEqual(last.ok, bool(takers), steps)
        text = " ".join(step.text for step in steps)
        if takers:
            self.assertEqual([name for name in takers if name not in text], [])
        else:
            self.assertTrue(any(f"({reason})" in last.text for reason in reasons), last)

    def test_packets(self) -> None:
        """The packets given to the table are whole ones with these addresses."""
        for source, destination in (("10.77.1.1", "10.77.1.2"), ("fd77::1", "fd77::2")):
            ends = ip_address(source).packed, ip_address(destination).packed
            frame = virtio.between(*ends)
            self.assertTrue(virtio.well_formed(frame))
            self.assertEqual(virtio.read(frame), (*ends, False))

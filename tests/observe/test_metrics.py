"""What Prometheus reads, parsed with Prometheus' own parser."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial import unittest

from tunmesh.observe.health import Condition, judge
from tunmesh.observe.metrics import exposition
from tunmesh.status.health import UrlReports
from tunmesh.status.multicast import MulticastStatus
from tunmesh.status.node import AutomaticAddress, DeviceStatus, NamesStatus, Status
from tunmesh.status.peers import LostNode, PeerStatus, UdpCounts, UdpStatus
from tunmesh.status.traffic import (
    RTT_BUCKETS,
    CarriedStreams,
    Histogram,
    IcmpAnswers,
    NodeTraffic,
    PeerSample,
    Sample,
    Traffic,
)
from tunmesh.wire.records import NodeRecord

HEALTH = judge(Condition(2))

# Name of each sample, with its type and its own labels (le: of a histogram's buckets).
ALWAYS = {
    "tunmesh_build_info": ("gauge", {"version", "node_name"}),
    "tunmesh_start_time_seconds": ("gauge", set()),
    "tunmesh_links": ("gauge", {"state"}),
    "tunmesh_links_by_key": ("gauge", {"key_id"}),
    "tunmesh_link_transport": ("gauge", {"transport"}),
    "tunmesh_udp_demanded": ("gauge", set()),
    "tunmesh_relayed_links": ("gauge", set()),
    "tunmesh_carried_streams": ("gauge", set()),
    "tunmesh_carried_requests_total": ("counter", {"outcome"}),
    "tunmesh_carried_bytes_total": ("counter", set()),
    "tunmesh_udp_datagrams_total": ("counter", {"direction"}),
    "tunmesh_udp_lost_total": ("counter", set()),
    "tunmesh_udp_replayed_total": ("counter", set()),
    "tunmesh_udp_undecryptable_total": ("counter", set()),
    "tunmesh_udp_strangers_total": ("counter", set()),
    "tunmesh_nodes_known": ("gauge", set()),
    "tunmesh_nodes_lost": ("gauge", set()),
    "tunmesh_addresses_refused": ("gauge", set()),
    "tunmesh_device_complaints": ("gauge", set()),
    "tunmesh_device_mtu_bytes": ("gauge", set()),
    "tunmesh_device_restored_total": ("counter", set()),
    "tunmesh_network_mismatches": ("gauge", set()),
    "tunmesh_routes": ("gauge", {"state"}),
    "tunmesh_name_conflicts": ("gauge", set()),
    "tunmesh_url_conflicts": ("gauge", set()),
    "tunmesh_url_tries": ("gauge", {"outcome"}),
    "tunmesh_expected_nodes": ("gauge", set()),
    "tunmesh_tun_rx_packets_total": ("counter", set()),
    "tunmesh_tun_rx_bytes_total": ("counter", set()),
    "tunmesh_tun_tx_packets_total": ("counter", set()),
    "tunmesh_tun_tx_bytes_total": ("counter", set()),
    "tunmesh_link_rx_packets_total": ("counter", set()),
    "tunmesh_link_rx_bytes_total": ("counter", set()),
    "tunmesh_link_tx_packets_total": ("counter", set()),
    "tunmesh_link_tx_bytes_total": ("counter", set()),
    "tunmesh_dropped_packets_total": ("counter", {"reason"}),
    "tunmesh_handshake_failures_total": ("counter", {"reason"}),
    "tunmesh_icmp_answers_total": ("counter", {"kind"}),
    "tunmesh_icmp_answers_limited_total": ("counter", set()),
    "tunmesh_false_introductions_total": ("counter", set()),
    "tunmesh_dns_queries_total": ("counter", {"outcome"}),
    "tunmesh_multicast_groups": ("gauge", {"where"}),
    "tunmesh_multicast_packets_total": ("counter", set()),
    "tunmesh_multicast_copies_total": ("counter", set()),
    "tunmesh_multicast_ignored_total": ("counter", set()),
    "tunmesh_chosen_address": ("gauge", {"family"}),
    "tunmesh_address_moves_total": ("counter", set()),
    "tunmesh_floating_addresses": ("gauge", {"state"}),
    "tunmesh_floating_moves_total": ("counter", {"change"}),
    "tunmesh_link_rtt_seconds_bucket": ("histogram", {"le"}),
    "tunmesh_link_rtt_seconds_count": ("histogram", set()),
    "tunmesh_link_rtt_seconds_sum": ("histogram", set()),
    "tunmesh_certificate_expiry_timestamp_seconds": ("gauge", set()),
    "tunmesh_buffered_bytes": ("gauge", set()),
    "tunmesh_memory_budget_bytes": ("gauge", set()),
    "tunmesh_delayed_calls": ("gauge", set()),
}
BY_NODE = {
    "tunmesh_node_rx_packets_total": ("counter", {"node"}),
    "tunmesh_node_rx_bytes_total": ("counter", {"node"}),
    "tunmesh_node_tx_packets_total": ("counter", {"node"}),
    "tunmesh_node_tx_bytes_total": ("counter", {"node"}),
    "tunmesh_node_transport": ("gauge", {"node", "transport"}),
    "tunmesh_node_latency_seconds_bucket": ("histogram", {"node", "le"}),
    "tunmesh_node_latency_seconds_count": ("histogram", {"node"}),
    "tunmesh_node_latency_seconds_sum": ("histogram", {"node"}),
}


def record_of(name: str, number: int) -> NodeRecord:
    address = ip_interface(f"10.77.1.{number}/24")
    return NodeRecord(
        f"{number:032x}", name, 1795644308125, f"https://{name}:4567", (address,), "0.1.0"
    )


def peer_of(name: str, number: int, traffic: Traffic) -> PeerStatus:
    return PeerStatus(
        record=record_of(name, number),
        dialed=True,
        since=0.0,
        rtt=0.001,
        queued_bytes=0,
        key_id="1",
        traffic=traffic,
        refuses=(),
        routed=(f"10.77.1.{number}",),
        pings=20,
        pongs=20,
        dropped=0,
    )


def over_udp(peer: PeerStatus) -> PeerStatus:
    """The same, with packets that go over UDP."""
    counts = UdpCounts(sent=2000, received=1000, lost=3, replayed=1, undecryptable=2)
    udp = UdpStatus(
        "shortest round trip 41 ms, 0.15 % lost", "192.0.2.3:4567", 1472, 0.041, 0.0015, counts
    )
    return replace(peer, transport="udp", rtt=0.041, udp=udp)


def sample_of(status: Status) -> Sample:
    """The sample of a node with this status."""
    peers = tuple(
        PeerSample(
            peer.record.id, peer.since, peer.rtt, peer.traffic.rx_bytes, peer.traffic.tx_bytes
        )
        for peer in status.peers
    )
    return Sample(status.now, peers, status.dropped, status.handshake_failures)


def a_status() -> Status:
    """A node with some history, and the peers bravo and charlie."""
    latency = Histogram(RTT_BUCKETS)
    latency.observe(0.003)
    rtt = Histogram(RTT_BUCKETS)
    for seconds in (0.0004, 0.0005, 0.02, 60.0):
        rtt.observe(seconds)
    return Status(
        record=record_of("alpha", 1),
        now=100.0,
        started=10.0,
        live=HEALTH.live,
        ready=HEALTH.ready,
        peers=(
            peer_of("bravo", 2, Traffic(1, 2, 3, 4)),
            over_udp(peer_of("charlie", 3, Traffic(5, 6, 7, 8))),
        ),
        dials=(),
        renewals=(),
        nodes={
            "bravo": NodeTraffic(Traffic(1, 2, 3, 4), latency),
            "charlie": NodeTraffic(Traffic(5, 6, 7, 8), latency),
        },
        links={"up": 2, "handshake": 1},
        nodes_known=5,
        device=DeviceStatus("tun1", ("10.77.0.0/16",)),
        tun=Traffic(10, 11, 12, 13),
        link=Traffic(20, 21, 22, 23),
        dropped={"no_route": 30, "spoofed_source": 31},
        handshake_failures={"bad_proof": 40},
        false_introductions=0,
        rtt=rtt,
        key_ids=("1", "2"),
        buffered_bytes=1000,
        memory_budget=4000,
        certificate_expiry=1800000000.0,
        port=4567,
        delayed_calls=7,
        expected_nodes=5,
        automatic=(
            AutomaticAddress(4, "held", "10.77.1.1/16", 0, 12.0, "10.77.0.0/16", 65534, 2, True),
            AutomaticAddress(6, "claiming", "fd77::1/64", 1, 12.0, "fd77::/64", 2**64, 2, False),
        ),
        address_moves=3,
        multicast=MulticastStatus((4,), (), 3, 5, 0, left_out=False),
        names=NamesStatus(
            "mesh", ("10.77.255.254",), ("192.0.2.53",), {"answered": 50, "nxdomain": 51}, 1
        ),
    )


class Exposition(unittest.SynchronousTestCase):
    """The text behind /metrics."""

    maxDiff = None

    def families(
        self, status: Status, labels: dict[str, str] | None = None, by_node: bool = False
    ) -> list[Metric]:
        text = exposition(lambda: status, labels or {}, by_node)().decode()
        return list(text_string_to_metric_families(text))

    def samples(
        self, status: Status, labels: dict[str, str] | None = None, by_node: bool = False
    ) -> dict[str, dict[str, float]]:
        """Values by name of the sample and its labels' values."""
        found: dict[str, dict[str, float]] = {}
        for family in self.families(status, labels, by_node):
            for sample in family.samples:
                found.setdefault(sample.name, {})[" ".join(sample.labels.values())] = sample.value
        return found

    def described(self, by_node: bool, labels: dict[str, str]) -> dict[str, tuple[str, set[str]]]:
        """Type and own labels of every sample; base labels must be on each."""
        found: dict[str, tuple[str, set[str]]] = {}
        for family in self.families(a_status(), labels, by_node):
            for sample in family.samples:
                own = dict(sample.labels)
                self.assertEqual({name: own.pop(name, None) for name in labels}, labels)
                self.assertEqual(
                    found.setdefault(sample.name, (family.type, set(own)))[1], set(own)
                )
        return found

    def test_names(self) -> None:
        """The metrics are exactly the documented ones, with their types and labels."""
        self.assertEqual(self.described(False, {}), ALWAYS)

    def test_names_by_node(self) -> None:
        """With packet metrics by node there are six more; only they have a node label."""
        self.assertEqual(self.described(True, {}), ALWAYS | BY_NODE)

    def test_base_labels(self) -> None:
        """Base labels are on every sample of every metric."""
        labels = {"cluster": "blue", "zone": "eu-1"}
        self.assertEqual(self.described(True, labels), ALWAYS | BY_NODE)

    def test_documented(self) -> None:
        """Every metric has a help text, and occurs once."""
        families = self.families(a_status(), by_node=True)
        self.assertTrue(all(family.documentation.strip() for family in families))
        names = [family.name for family in families]
        self.assertEqual(len(names), len(set(names)))

    def test_values(self) -> None:
        """The values are those of the status."""
        lost = LostNode("delta", "192.0.2.4:4567", 5.0, True, 1, "refused", 2.0)
        samples = self.samples(replace(a_status(), lost=(lost,)), by_node=True)
        self.assertEqual(samples["tunmesh_build_info"], {"alpha 0.1.0": 1})
        self.assertEqual(samples["tunmesh_start_time_seconds"], {"": 1795644308.125})
        self.assertEqual(samples["tunmesh_certificate_expiry_timestamp_seconds"], {"": 1.8e9})
        self.assertEqual(samples["tunmesh_buffered_bytes"], {"": 1000})
        self.assertEqual(samples["tunmesh_memory_budget_bytes"], {"": 4000})
        self.assertEqual(samples["tunmesh_delayed_calls"], {"": 7.0})
        self.assertEqual(samples["tunmesh_links"], {"handshake": 1, "up": 2, "retiring": 0})
        self.assertEqual(samples["tunmesh_nodes_known"], {"": 5})
        self.assertEqual(samples["tunmesh_nodes_lost"], {"": 1})
        dropped = {"no_route": 30, "spoofed_source": 31}
        self.assertEqual(samples["tunmesh_dropped_packets_total"], dropped)
        self.assertEqual(samples["tunmesh_handshake_failures_total"], {"bad_proof": 40})
        for index, field in enumerate(("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")):
            self.assertEqual(samples[f"tunmesh_tun_{field}_total"], {"": 10 + index})
            self.assertEqual(samples[f"tunmesh_link_{field}_total"], {"": 20 + index})
            self.assertEqual(
                samples[f"tunmesh_node_{field}_total"], {"bravo": 1 + index, "charlie": 5 + index}
            )

    def test_answers(self) -> None:
        """Answered packets by kind, and those that were too many."""
        status = replace(a_status(), answers=IcmpAnswers(True, 3, 2, 1))
        samples = self.samples(status)
        answered = {"unreachable": 3, "too_big": 2}
        self.assertEqual(samples["tunmesh_icmp_answers_total"], answered)
        self.assertEqual(samples["tunmesh_icmp_answers_limited_total"], {"": 1})

    def test_refused_addresses(self) -> None:
        """An address that several peers refuse counts once."""
        self.assertEqual(self.samples(a_status())["tunmesh_addresses_refused"], {"": 0})
        status = a_status()
        refusing = tuple(replace(peer, refuses=("10.77.1.1",)) for peer in status.peers)
        samples = self.samples(replace(status, peers=refusing))
        self.assertEqual(samples["tunmesh_addresses_refused"], {"": 1})

    def test_relays(self) -> None:
        """How many links are relayed, and what this node carries for others."""
        status = a_status()
        bravo, charlie = status.peers
        peers = (bravo, replace(charlie, relay=bravo.record.id))
        carried = CarriedStreams(2, 5, 1, 1000)
        samples = self.samples(replace(status, peers=peers, carried=carried))
        self.assertEqual(samples["tunmesh_relayed_links"], {"": 1})
        self.assertEqual(samples["tunmesh_carried_streams"], {"": 2})
        self.assertEqual(samples["tunmesh_carried_requests_total"], {"opened": 5, "refused": 1})
        self.assertEqual(samples["tunmesh_carried_bytes_total"], {"": 1000})

    def test_udp(self) -> None:
        """How many nodes are reached which way, whether UDP is demanded, and the datagrams."""
        counts = UdpCounts(sent=5, received=4, lost=3, replayed=2, undecryptable=1)
        status = replace(a_status(), transport="udp", udp=counts, udp_strangers=6)
        samples = self.samples(status, by_node=True)
        self.assertEqual(samples["tunmesh_link_transport"], {"tcp": 1, "udp": 1})
        self.assertEqual(samples["tunmesh_node_transport"], {"bravo tcp": 1, "charlie udp": 1})
        self.assertEqual(samples["tunmesh_udp_demanded"], {"": 1})
        self.assertEqual(samples["tunmesh_udp_datagrams_total"], {"rx": 4, "tx": 5})
        for name, count in (("lost", 3), ("replayed", 2), ("undecryptable", 1), ("strangers", 6)):
            self.assertEqual(samples[f"tunmesh_udp_{name}_total"], {"": count})
        self.assertEqual(self.samples(a_status())["tunmesh_udp_demanded"], {"": 0})

    def test_url(self) -> None:
        """How many that tried the URL of the node reached it, and how many did not."""
        samples = self.samples(replace(a_status(), url=UrlReports(3, 1)))
        self.assertEqual(samples["tunmesh_url_tries"], {"reached": 1, "failed": 2})

    def test_device(self) -> None:
        """Each complaint about the device counts."""
        self.assertEqual(self.samples(a_status())["tunmesh_device_complaints"], {"": 0})
        damaged = DeviceStatus("tun1", ("10.77.0.0/16",), ("no route", "no address"))
        samples = self.samples(replace(a_status(), device=damaged))
        self.assertEqual(samples["tunmesh_device_complaints"], {"": 2})

    def test_round_trips(self) -> None:
        """Round trips are a cumulative histogram; an upper bound belongs to its bucket."""
        samples = self.samples(a_status())
        buckets = {
            float(le): count for le, count in samples["tunmesh_link_rtt_seconds_bucket"].items()
        }
        self.assertEqual(set(buckets), {*RTT_BUCKETS, float("inf")})
        self.assertEqual([buckets[0.0005], buckets[0.01], buckets[0.025]], [2, 2, 3])
        self.assertEqual([buckets[2.5], buckets[float("inf")]], [3, 4])
        self.assertEqual(samples["tunmesh_link_rtt_seconds_count"], {"": 4})
        self.assertEqual(samples["tunmesh_link_rtt_seconds_sum"], {"": 60.0209})

    def test_latency(self) -> None:
        """The latency of each node is a histogram of its own."""
        samples = self.samples(a_status(), by_node=True)
        self.assertEqual(samples["tunmesh_node_latency_seconds_count"], {"bravo": 1, "charlie": 1})
        self.assertEqual(samples["tunmesh_node_latency_seconds_bucket"]["0.0025 bravo"], 0)
        self.assertEqual(samples["tunmesh_node_latency_seconds_bucket"]["0.005 bravo"], 1)

    def test_scraping_changes_nothing(self) -> None:
        """The node's own counters are the same after a scrape as before."""
        status = a_status()
        first = exposition(lambda: status, {}, True)()
        self.assertEqual(exposition(lambda: status, {}, True)(), first)
        self.assertEqual(status.peers[0].traffic, Traffic(1, 2, 3, 4))

    def test_fresh(self) -> None:
        """Every scrape asks the node for its status, which is not asked for before."""
        asked: list[Status] = []

        def status() -> Status:
            asked.append(replace(a_status(), nodes_known=len(asked)))
            return asked[-1]

        expose = exposition(status, {}, False)
        self.assertEqual(asked, [])
        self.assertIn(b"\ntunmesh_nodes_known 0.0\n", expose())
        self.assertIn(b"\ntunmesh_nodes_known 1.0\n", expose())

    def test_escaped(self) -> None:
        """A name with quotes and backslashes stays one label, and adds no line."""
        name = 'br"avo\\\\n{x="y"}'
        nodes = {name: NodeTraffic(Traffic(1, 2, 3, 4), Histogram(RTT_BUCKETS))}
        samples = self.samples(replace(a_status(), nodes=nodes), by_node=True)
        self.assertEqual(samples["tunmesh_node_rx_packets_total"], {name: 1})
        zone = 'eu\n"1"\\'
        samples = self.samples(a_status(), {"zone": zone})
        self.assertEqual(samples["tunmesh_nodes_known"], {zone: 5})

    def test_nobody(self) -> None:
        """A node without peers has the same metrics."""
        status = replace(
            a_status(), peers=(), nodes={}, links={}, dropped={}, handshake_failures={}
        )
        names = {family.name for family in self.families(status, by_node=True)}
        self.assertEqual(names, {family.name for family in self.families(a_status(), by_node=True)})

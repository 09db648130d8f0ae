"""Prometheus metrics, made from the node's status at each scrape.

Nothing is counted here: the node counts in plain integers, and a scrape turns one `Status` into
text. Every metric has the base labels. The only label that a peer can influence is `node`, its
name, which is off by default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tunmesh.membership.agreement import View, have_other_networks
from tunmesh.membership.name_conflicts import conflicts
from tunmesh.observe.link_metrics import LinkMetrics
from tunmesh.status.multicast import MulticastStatus
from tunmesh.status.node import Status
from tunmesh.status.routes import RoutesStatus

_DIRECTIONS = {
    "rx_packets": "Packets received from the mesh",
    "rx_bytes": "Bytes of packets received from the mesh",
    "tx_packets": "Packets sent into the mesh",
    "tx_bytes": "Bytes of packets sent into the mesh",
}


def exposition(
    status: Callable[[], Status], base_labels: Mapping[str, str], by_node: bool
) -> Callable[[], bytes]:
    """Returns what makes the text of all metrics. `by_node`: also those with a `node` label."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_NodeCollector(status, base_labels, by_node))
    return lambda: generate_latest(registry)


class _NodeCollector(LinkMetrics, Collector):
    def __init__(
        self, status: Callable[[], Status], base_labels: Mapping[str, str], by_node: bool
    ) -> None:
        super().__init__(base_labels)
        self._status = status
        self._by_node = by_node

    def describe(self) -> Sequence[Metric]:
        """None: the node is asked for its status only when it is scraped."""
        return ()

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        record = status.record
        yield self.gauge(
            "tunmesh_build_info",
            "The software and the name of this node",
            {(record.version, record.name): 1},
            ("version", "node_name"),
        )
        yield self.gauge(
            "tunmesh_start_time_seconds",
            "When the node started, in seconds since the epoch",
            {(): record.started / 1000},
        )
        yield self.gauge(
            "tunmesh_certificate_expiry_timestamp_seconds",
            "When the node's certificate expires, in seconds since the epoch",
            {(): status.certificate_expiry},
        )
        yield self.gauge(
            "tunmesh_delayed_calls",
            "Timers that run in this process",
            {(): status.delayed_calls},
        )
        yield from self.links(status)
        yield from self._own(status)
        yield from self._mesh(status)
        yield from self._resources(status)
        yield from self._packets(status)
        yield from self._multicast(status.multicast)
        yield self._routes(status.routes)

    def _routes(self, routes: RoutesStatus) -> Metric:
        reached = sum(bool(each.reached) for each in routes.accepted)
        return self.gauge(
            "tunmesh_routes",
            "Networks outside the mesh, by what becomes of them",
            {
                ("advertised",): len(routes.advertised),
                ("reached",): reached,
                ("unreached",): len(routes.accepted) - reached,
                ("unused",): routes.unused_count,
            },
            ("state",),
        )

    def _own(self, status: Status) -> Iterator[Metric]:
        """The names that the node answers, and the addresses that it has come by itself."""
        names = status.names
        yield self.counter(
            "tunmesh_dns_queries",
            "Queries to the DNS address, by outcome, if networking/dns is configured",
            {(outcome,): n for outcome, n in names.queries.items()} if names is not None else {},
            ("outcome",),
        )
        yield self.gauge(
            "tunmesh_chosen_address",
            "Whether the node has the address that it chooses itself, by IP version",
            {(f"IPv{each.version}",): float(each.is_usable) for each in status.automatic},
            ("family",),
        )
        yield self.counter(
            "tunmesh_address_moves",
            "Addresses that the node had chosen and had to give up to another node",
            {(): status.address_moves},
        )
        yield self.gauge(
            "tunmesh_floating_addresses",
            "Floating addresses that are claimed for the node, by state",
            {
                (state,): sum(own.state == state for own in status.floating)
                for state in ("held", "waiting")
            },
            ("state",),
        )
        yield self.counter(
            "tunmesh_floating_moves",
            "How often a floating address came to the node (held), and was lost to another (lost)",
            {(change,): n for change, n in status.floating_moves.items()},
            ("change",),
        )

    def _mesh(self, status: Status) -> Iterator[Metric]:
        """The other nodes, and what this one and they disagree about."""
        floating = {str(each.address) for each in status.record.floating}
        held = (
            View.of(status.record, peer.record).held_elsewhere(peer.refuses) - floating
            for peer in status.peers
            if peer.refuses
        )
        records = (status.record, *(peer.record for peer in status.peers))
        kinds = Counter(conflict.kind for conflict in conflicts(status.record, records))
        yield self.gauge(
            "tunmesh_nodes_known",
            "Other nodes that are linked or vouched for by a linked one",
            {(): status.nodes_known},
        )
        yield self.gauge(
            "tunmesh_nodes_lost",
            "Other nodes that were linked within the last day and are being dialed",
            {(): len(status.lost)},
        )
        yield self.gauge(
            "tunmesh_expected_nodes",
            "How many nodes the mesh should have, this one included, if configured",
            {(): status.expected_nodes} if status.expected_nodes is not None else {},
        )
        yield self.gauge(
            "tunmesh_addresses_refused",
            "Addresses of this node that some peer routes to another node",
            {(): len(frozenset().union(*held))},
        )
        yield self.gauge(
            "tunmesh_name_conflicts",
            "Names that more than one node has, among this node and the linked ones",
            {(): kinds["name"] + kinds["group"]},
        )
        yield self.gauge(
            "tunmesh_url_conflicts",
            "URLs that more than one node advertises, among this node and the linked ones",
            {(): kinds["url"]},
        )
        yield self.gauge(
            "tunmesh_url_tries",
            "Source addresses of peers that tried the URL of this node, by whether one got there",
            {
                ("reached",): status.url.reached,
                ("failed",): status.url.tried - status.url.reached,
            },
            ("outcome",),
        )
        yield self.gauge(
            "tunmesh_network_mismatches",
            "Linked nodes that are configured with other networks than this node",
            {(): sum(have_other_networks(status.record, peer.record) for peer in status.peers)},
        )
        yield self.counter(
            "tunmesh_false_introductions",
            "Introductions by peers with a record that its node had not signed, or a malformed one",
            {(): status.false_introductions},
        )

    def _resources(self, status: Status) -> Iterator[Metric]:
        """The state of the device and of the memory budget."""
        yield self.gauge(
            "tunmesh_device_complaints",
            "Addresses and routes that the tun lacks, and routes and rules that take its packets",
            {(): len(status.device.complaints)},
        )
        yield self.gauge(
            "tunmesh_device_mtu_bytes", "The MTU of the tun, as configured", {(): status.device.mtu}
        )
        yield self.counter(
            "tunmesh_device_restored",
            "How often the helper process has put back what others took from the tun",
            {(): status.device.restored},
        )
        yield self.gauge(
            "tunmesh_buffered_bytes",
            "Bytes that wait for peers, or have arrived from them in part",
            {(): status.buffered_bytes},
        )
        yield self.gauge(
            "tunmesh_memory_budget_bytes",
            "The upper limit of tunmesh_buffered_bytes",
            {(): status.memory_budget},
        )

    def _packets(self, status: Status) -> Iterator[Metric]:
        yield self.counter(
            "tunmesh_dropped_packets",
            "Packets dropped, by reason",
            {(reason,): count for reason, count in status.dropped.items()},
            ("reason",),
        )
        answers = status.answers
        yield self.counter(
            "tunmesh_icmp_answers",
            "Packets of this machine that were not carried and were answered with an ICMP error",
            {("unreachable",): answers.unreachable, ("too_big",): answers.too_big},
            ("kind",),
        )
        yield self.counter(
            "tunmesh_icmp_answers_limited",
            "Packets of this machine that were not carried nor answered, since there were too many",
            {(): answers.limited},
        )
        for field, text in _DIRECTIONS.items():
            for part, traffic in (("tun", status.tun), ("link", status.link)):
                yield self.counter(
                    f"tunmesh_{part}_{field}",
                    f"{text}, at the {part}",
                    {(): getattr(traffic, field)},
                )
        if self._by_node:
            yield from self._nodes(status)

    def _multicast(self, multicast: MulticastStatus | None) -> Iterator[Metric]:
        """None: multicast is not carried, and there is nothing to count."""
        joined: dict[tuple[str, ...], float] = {}
        if multicast is not None:
            joined = {("here",): multicast.joined, ("elsewhere",): multicast.elsewhere}
        yield self.gauge(
            "tunmesh_multicast_groups",
            "Multicast groups, by who is in them: programs here, or linked nodes",
            joined,
            ("where",),
        )
        for name, text in (
            ("packets", "Packets to groups that were sent to other nodes"),
            ("copies", "Copies of these, one for each node that one went to"),
            ("ignored", "Groups of peers that were ignored, as too many"),
        ):
            counts: dict[tuple[str, ...], float] = {}
            if multicast is not None:
                counts[()] = getattr(multicast, name)
            yield self.counter(f"tunmesh_multicast_{name}", text, counts)

    def _nodes(self, status: Status) -> Iterator[Metric]:
        for field, text in _DIRECTIONS.items():
            yield self.counter(
                f"tunmesh_node_{field}",
                f"{text}, by node",
                {(name,): getattr(node.traffic, field) for name, node in status.nodes.items()},
                ("node",),
            )
        yield self.gauge(
            "tunmesh_node_transport",
            "1 for what carries packets to a linked node",
            {(peer.record.name, peer.transport): 1 for peer in status.peers},
            ("node", "transport"),
        )
        yield self.histogram(
            "tunmesh_node_latency_seconds",
            "Half the round trip of pings on the link, by node",
            {(name,): node.latency for name, node in status.nodes.items()},
            ("node",),
        )

"""The metrics of the links, and of what carries packets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from tunmesh.observe.labelled_metrics import LabelledMetrics
from tunmesh.status.node import Status


class LinkMetrics(LabelledMetrics):
    """Direct links, relayed ones, UDP."""

    def links(self, status: Status) -> Iterator[Metric]:
        """All of them."""
        yield from self._connections(status)
        yield from self._relays(status)
        yield from self._udp(status)

    def _connections(self, status: Status) -> Iterator[Metric]:
        """The connections with other nodes."""
        yield self.gauge(
            "tunmesh_links",
            "Connections with other nodes, by state",
            {(state,): status.links.get(state, 0) for state in ("handshake", "up", "retiring")},
            ("state",),
        )
        yield self.gauge(
            "tunmesh_links_by_key",
            "Linked nodes, by the key that the link came up with; unused keys included",
            {(key_id,): count for key_id, count in status.links_by_key.items()},
            ("key_id",),
        )
        yield self.counter(
            "tunmesh_handshake_failures",
            "Connections that did not become links, by reason",
            {(reason,): count for reason, count in status.handshake_failures.items()},
            ("reason",),
        )
        yield self.histogram(
            "tunmesh_link_rtt_seconds", "Round trips of pings on links", {(): status.rtt}
        )

    def _relays(self, status: Status) -> Iterator[Metric]:
        """Links through other nodes, and those that this node carries for others."""
        carried = status.carried
        yield self.gauge(
            "tunmesh_relayed_links",
            "Linked nodes whose link runs through another node",
            {(): sum(peer.relay != "" for peer in status.peers)},
        )
        yield self.gauge(
            "tunmesh_carried_streams",
            "Links between other nodes that this node carries",
            {(): carried.streams},
        )
        yield self.counter(
            "tunmesh_carried_requests",
            "Requests to carry a link between other nodes, by outcome",
            {("opened",): carried.opened, ("refused",): carried.refused},
            ("outcome",),
        )
        yield self.counter(
            "tunmesh_carried_bytes",
            "Bytes of links between other nodes that this node has carried",
            {(): carried.bytes},
        )

    def _udp(self, status: Status) -> Iterator[Metric]:
        """UDP beside the links."""
        ways = Counter(peer.transport for peer in status.peers)
        yield self.gauge(
            "tunmesh_link_transport",
            "Linked nodes, by what carries packets to them",
            {(way,): ways[way] for way in ("tcp", "udp")},
            ("transport",),
        )
        yield self.gauge(
            "tunmesh_udp_demanded",
            "Whether networking/transport is udp",
            {(): status.transport == "udp"},
        )
        counts = status.udp
        yield self.counter(
            "tunmesh_udp_datagrams",
            "Datagrams of linked nodes, by direction",
            {("rx",): counts.received, ("tx",): counts.sent},
            ("direction",),
        )
        for name, text, count in (
            ("lost", "Datagrams sent that did not arrive, as the other ends count", counts.lost),
            ("replayed", "Datagrams that came twice, or too late to tell", counts.replayed),
            ("undecryptable", "Datagrams that no linked node has made", counts.undecryptable),
            ("strangers", "Datagrams that were for no link", status.udp_strangers),
        ):
            yield self.counter(f"tunmesh_udp_{name}", text, {(): count})

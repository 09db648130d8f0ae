"""Why packets are dropped: every reason, and what it means.

The values are the labels of `tunmesh_dropped_packets_total`; docs/monitoring.md has this table, and
a test compares the two.
"""

from __future__ import annotations

from enum import StrEnum

LEAVING, ARRIVING, BOTH = "leaving", "arriving", "both"


class DropReason(StrEnum):
    """`where`: whether the packet was leaving this node or arriving at it. `meaning`: what is
    wrong with it, in Markdown."""

    where: str
    meaning: str

    def __new__(cls, value: str, where: str, meaning: str) -> DropReason:
        reason = str.__new__(cls, value)
        reason._value_ = value
        reason.where, reason.meaning = where, meaning
        return reason

    NO_ROUTE = (
        "no_route",
        LEAVING,
        "inside the mesh's network, but no linked node has that address; or inside "
        "`accept_routes`, but no linked node leads there",
    )
    NO_ADDRESS = (
        "no_address",
        LEAVING,
        "this node has no address of its own in that family yet (`node_address_cidr: auto`)",
    )
    OUTSIDE_NETWORK = "outside_network", LEAVING, "not an address of the mesh"
    MULTICAST = "multicast", LEAVING, "not allowed by the config, or no other node is in the group"
    BROADCAST = "broadcast", LEAVING, "not allowed by the config, or no node to receive it"
    DNS_FLOOD = "dns_flood", LEAVING, "more to the DNS address than is answered"
    QUEUE_FULL = "queue_full", LEAVING, "more is sent to the peer than it accepts"
    EXPIRED = "expired", LEAVING, "waited longer than `packet_expiration` for a slow peer"
    TOO_BIG = (
        "too_big",
        LEAVING,
        "larger than the MTU of the peer's tun, and must not be fragmented",
    )
    REFUSED = (
        "refused",
        LEAVING,
        "the peer does not route the source to this node, and would drop it",
    )
    UDP_REFUSED = "udp_refused", LEAVING, "this host did not send the datagrams that it was in"
    LINK_LOST = "link_lost", LEAVING, "the link closed while packets waited"
    MALFORMED = "malformed", BOTH, "not exactly one IP packet, or a header with impossible values"
    SPOOFED_SOURCE = (
        "spoofed_source",
        ARRIVING,
        "the source is not an address that is routed to that peer",
    )
    MISROUTED = "misrouted", ARRIVING, "the destination is not this node, nor what it advertises"
    NOT_JOINED = "not_joined", ARRIVING, "to a multicast group that nobody here has joined"
    LINK_CONTROL = (
        "link_control",
        ARRIVING,
        "IGMP, MLD or neighbour discovery, which no node passes on",
    )
    ICMP_ERROR = (
        "icmp_error",
        ARRIVING,
        "an ICMP redirect, or an ICMP error about a packet that this machine did not send to that "
        "peer",
    )
    FRAGMENTS = "fragments", ARRIVING, "the peer has too many incomplete datagrams"
    TUN_FULL = "tun_full", ARRIVING, "the kernel has no room for it"
    TUN_REFUSED = "tun_refused", ARRIVING, "the kernel rejects the packet"
    TUN_DOWN = "tun_down", ARRIVING, "the tun device is down or gone"


Drop = tuple[DropReason, bytes | memoryview]  # why, and the frame

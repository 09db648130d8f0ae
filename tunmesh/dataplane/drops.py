"""Why a packet goes no further: every reason there is, and what each of them means.

The values are the labels of `tunmesh_dropped_packets_total`; docs/monitoring.md has this table, and
a test compares the two.
"""

from __future__ import annotations

from enum import StrEnum

LEAVING, ARRIVING, BOTH = "leaving", "arriving", "both"


class DropReason(StrEnum):
    """`where`: whether the packet was leaving this node or arriving at it. `meaning`: what is the
    matter with it, in Markdown."""

    where: str
    meaning: str

    def __new__(cls, value: str, where: str, meaning: str) -> DropReason:
        reason = str.__new__(cls, value)
        reason._value_ = value
        reason.where, reason.meaning = where, meaning
        return reason

    NO_ROUTE = "no_route", LEAVING, "inside the mesh's network, but no linked node has that address"
    OUTSIDE_NETWORK = "outside_network", LEAVING, "not an address of the mesh"
    MULTICAST = "multicast", LEAVING, "multicast is not carried"
    BROADCAST = "broadcast", LEAVING, "not allowed by the config, or nobody is there to hear it"
    QUEUE_FULL = "queue_full", LEAVING, "the peer takes less than it is sent"
    EXPIRED = "expired", LEAVING, "waited longer than `packet_expiration` for a slow peer"
    LINK_LOST = "link_lost", LEAVING, "the link closed while they waited"
    MALFORMED = "malformed", BOTH, "not one whole IP packet, or a header that lies"
    SPOOFED_SOURCE = (
        "spoofed_source",
        ARRIVING,
        "the source is not an address that is routed to that peer",
    )
    MISROUTED = "misrouted", ARRIVING, "the destination is not this node"
    ICMP_ERROR = (
        "icmp_error",
        ARRIVING,
        "an ICMP error about a packet that this machine did not send into the mesh, or a redirect",
    )
    FRAGMENTS = (
        "fragments",
        ARRIVING,
        "the peer has too many datagrams under way of which fragments are missing",
    )
    TUN_FULL = "tun_full", ARRIVING, "the kernel has no room for it"
    TUN_REFUSED = "tun_refused", ARRIVING, "the kernel does not accept it"
    TUN_DOWN = "tun_down", ARRIVING, "the tun device is down or gone"


Drop = tuple[DropReason, bytes | memoryview]  # why, and the frame

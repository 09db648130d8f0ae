"""Other nodes as one node sees them: linked, dialed, lost, heard of.

Times are seconds of the node's monotonic clock unless stated otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunmesh.status.traffic import Traffic
from tunmesh.wire.records import NodeRecord

LEADS_BACK = "it leads to this node"  # why dialing a bootstrap URL did not help


REVOKED = "revoked"  # the key id of every secret that is not valid any more


def key_labels(count: int) -> tuple[str, ...]:
    """The key ids of this many secrets, for status and metrics: their places in this node's config.
    "1" is the one that is offered. Nothing that is derived from a secret is shown: guesses could be
    tested against it."""
    return tuple(str(place + 1) for place in range(count))


@dataclass(frozen=True, slots=True)
class UdpCounts:
    """Datagrams."""

    sent: int = 0
    received: int = 0
    lost: int = 0  # of those sent
    replayed: int = 0  # that came twice, or so late that they may have
    undecryptable: int = 0  # that came, and that the peer has not made

    def plus(self, other: UdpCounts) -> UdpCounts:
        """Both together."""
        return UdpCounts(
            self.sent + other.sent,
            self.received + other.received,
            self.lost + other.lost,
            self.replayed + other.replayed,
            self.undecryptable + other.undecryptable,
        )


@dataclass(frozen=True, slots=True)
class UdpStatus:
    """UDP beside the link with one node."""

    why: str  # packets go over UDP, or do not: udp.choice
    address: str = ""  # host:port that answers; empty: there is no path
    size: int = 0  # bytes of UDP payload that datagrams have at most
    rtt: float | None = None  # seconds
    loss: float | None = None  # of what this node sends: 0 to 1; None: too little was sent
    counts: UdpCounts = UdpCounts()  # since the node is linked
    is_offered: bool = True  # the other end takes UDP


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One linked node."""

    record: NodeRecord
    dialed: bool
    since: float
    rtt: float | None  # seconds
    queued_bytes: int
    key_id: str  # of the secret it came up with: one of `key_labels`, or REVOKED
    traffic: Traffic
    refuses: tuple[str, ...]  # addresses of ours that it does not route to us
    routed: tuple[str, ...]  # its addresses that this node routes to it
    pings: int  # keepalives sent on this link
    pongs: int  # and answered in time
    dropped: int  # packets to it that this link dropped
    url_tried: str = ""  # what it found when it tried this node's URL: a word; "" if it has not
    transport: str = "tcp"  # of packets to it: tcp or udp
    udp: UdpStatus | None = None  # None: this node uses no UDP
    segment: int = 0  # bytes of data in the largest TCP segment that its link sends; 0: not known
    relay: str = ""  # the id of the node that carries the link; "" if it is direct
    why_relayed: str = ""  # why the last dial for a direct link failed

    @property
    def why(self) -> str:
        """Why this carries packets to it."""
        return "this node uses no UDP" if self.udp is None else self.udp.why


@dataclass(frozen=True, slots=True)
class DialStatus:
    """A node, or a bootstrap group, that this node tries to reach."""

    name: str  # of the node or of the group
    is_group: bool
    target: str  # host:port that is being tried, or will be next
    failures: int  # in a row
    why: str  # of the last one
    retry_in: float | None  # seconds; None: an attempt is under way, or waits for a slot


@dataclass(frozen=True, slots=True)
class LostNode:
    """A node that was linked and that this node tries to reach again (membership.lost_nodes)."""

    name: str
    target: str  # host:port where it was to be dialed
    ago: float  # seconds since it was linked
    left: bool  # it said goodbye
    attempts: int  # to reach it there that have failed
    why: str  # of the last one
    retry_in: float  # seconds


@dataclass(frozen=True, slots=True)
class KnownNode:
    """Another node that this one knows of: linked, or vouched for by one that is."""

    id: str
    record: NodeRecord | None  # None: its record has not arrived yet
    linked_with: tuple[str, ...]  # ids of the nodes that are linked with it, or say so
    is_whole: bool = True  # False: only this node is listed there, because there are too many links

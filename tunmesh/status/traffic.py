"""What is counted: packets, bytes, round trips, drops.

Times are seconds of the node's monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Upper bounds, in seconds, of the buckets that round trips are counted in.
RTT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass(slots=True)
class Traffic:
    """Packets and bytes, seen from this node: rx came from the mesh, tx went into it. Bytes are
    those of IP packets."""

    rx_packets: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0

    def copy(self) -> Traffic:
        return Traffic(self.rx_packets, self.rx_bytes, self.tx_packets, self.tx_bytes)

    def add(self, other: Traffic) -> None:
        self.rx_packets += other.rx_packets
        self.rx_bytes += other.rx_bytes
        self.tx_packets += other.tx_packets
        self.tx_bytes += other.tx_bytes


class Histogram:
    """How many observations there were in each bucket."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def copy(self) -> Histogram:
        copied = Histogram(self.bounds)
        copied.counts, copied.sum = list(self.counts), self.sum
        return copied

    def observe(self, value: float) -> None:
        self.sum += value
        for index, bound in enumerate(self.bounds):
            if value <= bound:
                self.counts[index] += 1
                return
        self.counts[-1] += 1

    def cumulative(self) -> list[tuple[str, int]]:
        """(upper bound as Prometheus writes it, observations up to it); the last bound is +Inf."""
        total, rows = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            rows.append((bound, total))
        return rows


@dataclass(frozen=True, slots=True)
class PeerSample:
    """The counters of a linked node that are sampled every few seconds."""

    id: str
    since: float
    rtt: float | None  # seconds
    rx_bytes: int
    tx_bytes: int


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters of a node that are sampled every few seconds, for rates."""

    now: float
    peers: tuple[PeerSample, ...]
    dropped: Mapping[str, int]  # by reason
    handshake_failures: Mapping[str, int]  # by reason


@dataclass(frozen=True, slots=True)
class Dropped:
    """A packet that was dropped. `sender`: the name of the peer that sent it; None: this host did.
    `start`: its first bytes."""

    seconds: float
    reason: str
    sender: str | None
    start: bytes


@dataclass(frozen=True, slots=True)
class IcmpAnswers:
    """What a node has answered to packets of its own machine that it does not carry."""

    is_answering: bool = False  # it has been in its mesh for a moment
    unreachable: int = 0  # host unreachable, address unreachable
    too_big: int = 0
    limited: int = 0  # packets without an answer, since there were too many


@dataclass(frozen=True, slots=True)
class NodeTraffic:
    """The traffic with the nodes of one name, in all their incarnations."""

    traffic: Traffic
    latency: Histogram  # one way: half a round trip


@dataclass(frozen=True, slots=True)
class CarriedStreams:
    """Links between other nodes that run through this one, as streams (relay.switchboard)."""

    streams: int = 0  # now
    opened: int = 0  # so far
    refused: int = 0
    bytes: int = 0
    links: tuple[tuple[str, str], ...] = ()  # now: whose, as pairs of node ids

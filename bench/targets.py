"""The performance targets, and whether they were met: ratios within the same run where
possible.

A ratio is the median of the rounds' ratios (see `bench.results`), any other figure a median.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.results import Results

US = "tunmesh"
TCP, UDP = "tunmesh-tcp", "tunmesh-udp"


@dataclass(frozen=True)
class Target:
    """`figure` of `subject`, or its ratio to another figure, must be at least or at most
    `limit`."""

    text: str
    figure: str
    limit: float
    at_least: bool
    unit: float = 1.0
    """The unit of the limit: a figure that is not a ratio is divided by this."""
    other: tuple[str, str] | None = None
    """The contender and the figure in the denominator of a ratio."""
    unit_name: str = ""
    subject: str = US

    def value(self, results: Results) -> float | None:
        """The value in its unit; None if it was not measured."""
        if self.other:
            return results.ratio((self.subject, self.figure), self.other)
        found = results.summary(self.subject, self.figure)
        return found.median / self.unit if found else None


@dataclass(frozen=True)
class Verdict:
    """A target and its outcome."""

    target: Target
    value: float | None

    @property
    def met(self) -> bool | None:
        """None: not measured."""
        if self.value is None:
            return None
        limit = self.target.limit
        return self.value >= limit if self.target.at_least else self.value <= limit


def _beats(figure: str, what: str, factor: float, *contenders: str) -> list[Target]:
    return [
        Target(f"{what}, relative to {name}", figure, factor, True, other=(name, figure))
        for name in contenders
    ]


def _over_udp(figure: str, what: str, limit: float, other: str, at_least: bool = True) -> Target:
    text = f"{what} over UDP, relative to {other}"
    return Target(text, figure, limit, at_least, other=(other, figure), subject=UDP)


def _keeps(neighbour: str) -> list[Target]:
    return [
        Target(
            f"fast peer beside a {neighbour} one, relative to alone",
            *(f"{neighbour}_beside", 0.9, True),
            other=(US, f"{neighbour}_alone"),
        ),
        Target(
            f"ping to it, 99th percentile, beside a {neighbour} one",
            *(f"{neighbour}_rtt_p99", 10.0, False, 1e-3),
            unit_name="ms",
        ),
    ]


OTHERS = ("openvpn", "openvpn-tcp", "tinc", "wireguard-go", "nebula")
TARGETS: Sequence[Target] = (
    *_beats("tcp1", "TCP, 1 stream", 0.9, "relay"),
    *_beats("tcp4", "TCP, 4 streams", 0.9, "relay"),
    *_beats("tcp1", "TCP, 1 stream", 4, "openvpn", "wireguard-go"),
    *_beats("tcp4", "TCP, 4 streams", 4, "openvpn", "wireguard-go"),
    *_beats("udp1200", "datagrams of 1200 B", 2, "openvpn"),
    Target("datagrams of 64 B", "udp64", 100, True, 1e3, unit_name="k/s"),
    *_beats("udp64", "datagrams of 64 B", 1, *OTHERS),
    Target(
        "round trip, idle, relative to relay",
        "rtt_median",
        2.5,
        False,
        other=("relay", "rtt_median"),
    ),
    Target("round trip beside 4 streams, median", "loaded_median", 5, False, 1e-3, unit_name="ms"),
    Target("round trip beside 4 streams, p99", "loaded_p99", 20, False, 1e-3, unit_name="ms"),
    Target(
        "4 streams beside the ping, relative to without",
        "loaded_tcp4",
        0.85,
        True,
        other=(US, "loaded_alone"),
    ),
    *_beats("tcp1", "TCP, 1 stream", 0.95, TCP),
    *_beats("tcp4", "TCP, 4 streams", 0.95, TCP),
    _over_udp("tcp1", "TCP, 1 stream,", 0.8, "relay"),
    _over_udp("tcp4", "TCP, 4 streams,", 0.8, "relay"),
    _over_udp("tcp1", "TCP, 1 stream,", 1, "minimal"),
    _over_udp("tcp4", "TCP, 4 streams,", 1, "minimal"),
    _over_udp("udp1200", "1200 B", 2, "wireguard-go"),
    _over_udp("udp64", "64 B", 2, "wireguard-go"),
    _over_udp("rtt_median", "round trip, idle,", 1.5, "relay", at_least=False),
    _over_udp("rtt_median", "round trip, idle,", 1.6, "minimal", at_least=False),
    *_keeps("slow"),
    *_keeps("dead"),
    Target("memory gained by sending to a dead peer", "dead_growth", 8, False, 1e6, unit_name="MB"),
    Target("memory of a node", "memory", 60, False, 1e6, unit_name="MB"),
    Target("start to first packet", "start", 1.5, False, unit_name="s"),
    Target("idle with 3 peers, of a core", "idle_cpu", 0.5, False, 1e-2, unit_name="%"),
)


def verdicts(results: Results) -> list[Verdict]:
    """A verdict on each target, in order."""
    return [Verdict(target, target.value(results)) for target in TARGETS]

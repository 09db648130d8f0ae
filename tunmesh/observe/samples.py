"""The last minutes: rates and round-trip times of each peer, drops and failures of the node.

    sample ── every INTERVAL ──> History ── the last KEEP of them ──> sparklines, rates, problems

A status has totals since the start; people want to know the rate now. For each peer three short
rows of floats are kept (4 bytes a sample), for the node two counters.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from math import isnan, nan

from tunmesh.status.node import Status
from tunmesh.status.traffic import PeerSample, Sample

INTERVAL = 2.0  # seconds from one sample to the next
KEEP = 90  # samples: three minutes


class Series:
    """The last KEEP samples of one peer, the newest at the end: bytes per second received and sent,
    and the round trip in seconds (nan: not measured)."""

    __slots__ = ("_bytes", "_time", "rtt", "rx", "tx")

    def __init__(self) -> None:
        self.rx, self.tx, self.rtt = array("f"), array("f"), array("f")
        self._time = 0.0
        self._bytes = (0, 0)

    def sample(self, now: float, peer: PeerSample) -> None:
        seen = (peer.rx_bytes, peer.tx_bytes)
        elapsed = now - (self._time or peer.since)
        if elapsed > 0:
            for row, new, old in zip((self.rx, self.tx), seen, self._bytes, strict=True):
                _append(row, (new - old) / elapsed)
            _append(self.rtt, nan if peer.rtt is None else peer.rtt)
            self._time, self._bytes = now, seen


def series_tree(series: Series) -> dict[str, list[float | None]]:
    """A series for JSON: rates in whole bytes, and null for what was not measured."""
    return {
        "rx": [round(rate) for rate in series.rx],
        "tx": [round(rate) for rate in series.tx],
        "rtt": [None if isnan(seconds) else round(seconds, 6) for seconds in series.rtt],
    }


def _append(row: array[float], value: float) -> None:
    row.append(value)
    if len(row) > KEEP:
        del row[0]


class History:
    """The last KEEP samples of a node and its peers."""

    def __init__(self) -> None:
        self._series: dict[str, Series] = {}
        self._counts: deque[tuple[float, Mapping[str, int], Mapping[str, int]]] = deque(maxlen=KEEP)

    def sample(self, taken: Sample) -> None:
        self._counts.append((taken.now, taken.dropped, taken.handshake_failures))
        old, self._series = self._series, {}
        for peer in taken.peers:
            series = self._series[peer.id] = old.get(peer.id) or Series()
            series.sample(taken.now, peer)

    def of(self, node_id: str) -> Series:
        """The samples of a linked node; none if it came after the last sample."""
        return self._series.get(node_id) or Series()

    def lately(self, status: Status) -> tuple[float, Counter[str], Counter[str]]:
        """How long ago the oldest sample was taken, in seconds, and the drops and handshake
        failures since then, by reason."""
        if not self._counts:
            return 0.0, Counter(), Counter()
        since, dropped, failures = self._counts[0]
        return (
            status.now - since,
            Counter(status.dropped) - Counter(dropped),
            Counter(status.handshake_failures) - Counter(failures),
        )


def last(row: Sequence[float]) -> float:
    """The newest sample, 0 when there is none."""
    return row[-1] if row else 0.0

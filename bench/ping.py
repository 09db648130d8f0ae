"""Round-trip times by `ping`, one per packet, since its summary has no 99th percentile."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from bench.errors import BenchError

_TIME = re.compile(r"icmp_seq=\d+ .*time=([\d.]+) ms")


def parse_ping(text: str) -> list[float]:
    """The round-trip time of each reply in seconds. Raises BenchError if there is none."""
    times = [float(time) / 1e3 for time in _TIME.findall(text)]
    if not times:
        raise BenchError("no ping was answered")
    return times


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not exceeded by at least this share (0 to 1) of the values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

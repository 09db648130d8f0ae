"""TCP throughput by iperf3: a server for a single test on one host, a client on the other.

The figures are the receiver's. In iperf3's terms "reverse" means data from the server to the
client, "bidir" both ways at once with a connection for each.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from bench.errors import BenchError
from bench.lab import Host, finish

PORT = "5201"
GRACE = 10.0


@dataclass(frozen=True)
class Transfer:
    """What the receiver got: bits per second, and the total number of bytes."""

    rate: float
    bytes: float


class Iperf:
    """A running test from `left` to `right` at that address."""

    def __init__(self, left: Host, right: Host, address: str, seconds: int, *how: str) -> None:
        self._seconds = seconds
        self._server = right.start_tool("iperf3", "-s", "-1", "-p", PORT, "--forceflush")
        await_line(self._server, "listening")
        command = ("iperf3", "-J", "-c", address, "-p", PORT, "-t", f"{seconds}", *how)
        self._client = left.start_tool(*command)

    def result(self) -> Transfer:
        """Wait for the end of the test. Raises BenchError if it fails."""
        try:
            text = finish(self._client, accept=(0, 1), patience=self._seconds + GRACE)
        finally:
            self.close()
        return parse_transfer(text)

    def close(self) -> None:
        """Stop the test if it is still running."""
        for tool in self._client, self._server:
            tool.kill()
            tool.wait()


def parse_transfer(text: str) -> Transfer:
    """Parse iperf3's JSON. Raises BenchError, with iperf3's message, if the test failed."""
    try:
        report: dict[str, Any] = json.loads(text)
    except ValueError:
        raise BenchError("iperf3 ended without a report") from None
    if "error" in report:
        raise BenchError(f"iperf3: {report['error']}")
    sums = [report["end"][name] for name in _SUMS if name in report["end"]]
    if not all(one["bytes"] for one in sums):
        raise BenchError("iperf3: nothing arrived")
    return Transfer(
        rate=sum(one["bits_per_second"] for one in sums), bytes=sum(one["bytes"] for one in sums)
    )


_SUMS = ("sum_received", "sum_received_bidir_reverse")


def await_line(tool: subprocess.Popen[str], word: str) -> None:
    """Wait until a tool has written a line with that word. Raises BenchError if it exits first."""
    assert tool.stdout  # noqa: S101
    for line in tool.stdout:
        if word in line:
            return
    finish(tool)
    raise BenchError(f"a tool ended before it printed {word}")

"""What sealing and opening datagrams costs: microseconds for one frame, or one burst.

    python -m bench.datagrams [--size 1472] [--seconds 1]

One process, no network: the cost of a node is more, by the system calls and by the way through the
forwarder. Figures are the shortest of all calls, which come out the same on a busy machine. The
cost of encrypting the same datagrams and nothing else is the least that is possible.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from time import perf_counter

from tests.packets.test_udp_segments import datagram
from tests.support.datagrams import two_ends
from tests.support.segmentation import tcp_frame
from tunmesh.packets import udp_segments
from tunmesh.udp.aead import sealing
from tunmesh.udp.session import Session

TRAFFIC = {
    "a piece of TCP, 61 KB": [tcp_frame(bytes(46 * 1324), unit=1324)],
    "the same, segments of 1,448": [tcp_frame(bytes(42 * 1448))],
    "64 datagrams of 1,200 B": udp_segments.join([datagram(bytes(1200))] * 64),
    "64 datagrams of 64 B": udp_segments.join([datagram(bytes(64))] * 64),
    "a packet of 84 B": [bytes(10) + datagram(bytes(56))[10:]],
    "64 packets of 52 B": [bytes(10) + datagram(bytes(24))[10:]] * 64,
}


def best(call: Callable[[], object], seconds: float) -> float:
    """The seconds of the shortest call."""
    shortest, end = seconds, perf_counter() + seconds
    while (start := perf_counter()) < end:
        call()
        shortest = min(shortest, perf_counter() - start)
    return shortest


def costs(frames: list[bytes], size: int, seconds: float) -> tuple[int, float, float, float]:
    """The datagrams of these frames; seconds to seal them, to open them, and of encryption."""
    client, server = two_ends()
    sends = [(bytes(data), length) for data, length in client.seal(frames, size)]
    lengths = [
        len(data[at : at + length]) for data, length in sends for at in range(0, len(data), length)
    ]

    def seal() -> None:
        for _ in client.seal(frames, size):
            pass

    return (
        len(lengths),
        best(seal, seconds),
        opening(server, sends, seconds),
        floor(lengths, seconds),
    )


def opening(server: Session, sends: list[tuple[bytes, int]], seconds: float) -> float:
    views = [(memoryview(data), length) for data, length in sends]

    def open_again() -> None:
        server._window.highest = 0  # as if they were new
        for data, length in views:
            server.open(data, length)
        server.frames()

    return best(open_again, seconds)


def floor(lengths: list[int], seconds: float) -> float:
    """Seconds to encrypt datagrams of these lengths, and nothing else."""
    seal, nonce = sealing(os.urandom(32)), bytes(12)
    texts = [(bytes(length - 28), memoryview(bytearray(length - 12))) for length in lengths]

    def encrypt() -> None:
        for text, place in texts:
            seal(nonce, text, None, place)

    return best(encrypt, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=1472, help="bytes of the largest datagram")
    parser.add_argument("--seconds", type=float, default=1, help="for each figure")
    arguments = parser.parse_args()
    print(f"{'':30}{'datagrams':>10}{'seal µs':>10}{'open µs':>10}{'AEAD µs':>10}")  # noqa: T201
    for name, frames in TRAFFIC.items():
        count, *times = costs(frames, arguments.size, arguments.seconds)
        figures = "".join(f"{seconds * 1e6:10.1f}" for seconds in times)
        print(f"{name:30}{count:10}{figures}")  # noqa: T201


if __name__ == "__main__":
    main()

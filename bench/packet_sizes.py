"""What a link carries, by the size of the packets.

    python -m bench.packet_sizes [--seconds 2] [--out DIRECTORY]

Two real nodes, each in a network namespace of its own, and iperf3 between their tuns. UDP by the
size of the datagram (above the MTU they travel as fragments), sent as fast as the sender can, what
arrives counts. TCP by its segment size: with segmentation offload the tun hands over up to 64 KB at
a time, whatever that is.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from bench.contenders.tunmesh import contender
from bench.errors import BenchError
from bench.lab import Lab
from bench.running import Running, bring_up
from bench.scale import save

DATAGRAMS = (64, 128, 256, 512, 1024, 1400, 4000, 16_000)
SEGMENTS = (88, 256, 512, 1024, 1400)


@dataclass(frozen=True)
class Row:
    protocol: str
    size: int  # bytes of a datagram, or at most of a segment
    bits: float  # received, a second
    packets: float  # received, a second; 0 for TCP


def measure(running: Running, protocol: str, size: int, seconds: int) -> Row:
    """One run of iperf3 from one node to the other. Raises BenchError when nothing arrived."""
    how = ("-u", "-b", "0", "-l", str(size)) if protocol == "udp" else ("-M", str(size))
    bits = running.iperf(seconds, *how).result().rate
    return Row(protocol, size, bits, bits / 8 / size if protocol == "udp" else 0.0)


def run(seconds: int) -> list[Row]:
    rows = []
    with Lab() as lab:
        running = Running(contender("tunmesh"), lab.ground("tunmesh"), lab)
        bring_up(running.contender, running.ground)
        for protocol, sizes in (("udp", DATAGRAMS), ("tcp", SEGMENTS)):
            for size in sizes:
                try:
                    row = measure(running, protocol, size, seconds)
                except BenchError as error:
                    print(f"{protocol} {size:6} {error}", flush=True)  # noqa: T201
                    continue
                print(f"{protocol} {size:6} {row.bits / 1e6:8.1f} {row.packets:9.0f}", flush=True)  # noqa: T201
                rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.packet_sizes")
    parser.add_argument("--seconds", type=int, default=2, help="for each size")
    parser.add_argument("--out", type=Path, help="directory for packet_sizes.json")
    options = parser.parse_args()
    print("       bytes   Mbit/s packets/s")  # noqa: T201
    rows = run(options.seconds)
    if options.out is not None:
        save(rows, options.out / "packet_sizes.json")


if __name__ == "__main__":
    main()

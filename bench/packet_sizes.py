"""What a link carries, by the size of the packets.

    python -m bench.packet_sizes [--seconds 2] [--out DIRECTORY]

Two real nodes, each in a network namespace of its own, and iperf3 between their tuns. UDP by the
size of the datagram (above the MTU they travel as fragments), sent as fast as the sender can, what
arrives counts. TCP by its segment size: with segmentation offload the tun hands over up to 64 KB at
a time, whatever that is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.scale import Process, node_command
from tunmesh.localmesh import machine, plan
from tunmesh.localmesh.janitor import Janitor
from tunmesh.localmesh.plan import NodePlan
from tunmesh.localmesh.underlay import Underlay
from tunmesh.namespaces import Namespace

DATAGRAMS = (64, 128, 256, 512, 1024, 1400, 4000, 16_000)
SEGMENTS = (88, 256, 512, 1024, 1400)


@dataclass(frozen=True)
class Row:
    protocol: str
    size: int  # bytes of a datagram, or at most of a segment
    bits: float  # received, a second
    packets: float  # received, a second; 0 for TCP


def measure(
    client: Namespace, server: Namespace, address: str, protocol: str, size: int, seconds: int
) -> Row:
    """One run of iperf3 from one namespace to the other."""
    udp = ["-u", "-b", "0", "-l", str(size)] if protocol == "udp" else ["-M", str(size)]
    with server:
        listener = subprocess.Popen(
            ["iperf3", "-s", "-1", "--forceflush"], stdout=subprocess.PIPE, text=True
        )
    assert listener.stdout is not None  # noqa: S101
    next(line for line in listener.stdout if "listening" in line)
    with client:
        command = ["iperf3", "-J", "-c", address, "-t", str(seconds), *udp]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    listener.kill()
    listener.communicate()
    said = json.loads(ran.stdout)
    if "error" in said:
        raise SystemExit(f"iperf3, {protocol} with {size} bytes: {said['error']}")
    received = said["end"]["sum_received"]
    bits = received["bytes"] * 8 / seconds
    return Row(protocol, size, bits, bits / 8 / size if protocol == "udp" else 0.0)


def run(seconds: int) -> list[Row]:
    plans = [NodePlan(1), NodePlan(2)]
    directory = Path(tempfile.mkdtemp(prefix="tunmesh-sizes-"))
    underlay, janitor = Underlay.create([each.underlay for each in plans]), Janitor(directory)
    rows = []
    try:
        plan.write_files(directory, plans, machine.prepare())
        nodes = [
            Process(node_command(directory / each.config_file), namespace, janitor)
            for each, namespace in zip(plans, underlay.namespaces, strict=True)
        ]
        for node in nodes:
            node.until("linked")
            node.ignore()
        for protocol, sizes in (("udp", DATAGRAMS), ("tcp", SEGMENTS)):
            for size in sizes:
                client, server = underlay.namespaces
                row = measure(client, server, plans[1].ipv4, protocol, size, seconds)
                print(f"{protocol} {size:6} {row.bits / 1e6:8.1f} {row.packets:9.0f}", flush=True)  # noqa: T201
                rows.append(row)
    finally:
        janitor.close()
        underlay.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.packet_sizes")
    parser.add_argument("--seconds", type=int, default=2, help="for each size")
    parser.add_argument("--out", type=Path, help="directory for packet_sizes.json")
    options = parser.parse_args()
    print("       bytes   Mbit/s packets/s")  # noqa: T201
    rows = run(options.seconds)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps([asdict(row) for row in rows], indent=2)
        (options.out / "packet_sizes.json").write_text(text + "\n")


if __name__ == "__main__":
    main()

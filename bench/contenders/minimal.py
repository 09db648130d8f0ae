"""The yardstick for packets over UDP: bench/minimal.py, the least that Python needs for it."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.contender import INNER_LEFT, INNER_RIGHT, Contender
from bench.lab import Ground

PROGRAM = Path(__file__).parent.parent / "minimal.py"
PORT = 4000
MTU = 1420


def prepare(ground: Ground) -> None:
    for host, own in (ground.left, INNER_LEFT), (ground.right, INNER_RIGHT):
        host.run("ip", "tuntap", "add", "tun1", "mode", "tun", "vnet_hdr")
        host.run("ip", "address", "add", f"{own}/24", "dev", "tun1")
        host.run("ip", "link", "set", "tun1", "up", "mtu", str(MTU))


def start(ground: Ground) -> None:
    for host, other in (ground.left, ground.right), (ground.right, ground.left):
        addresses = (host.address, other.address)
        host.start_daemon(sys.executable, str(PROGRAM), *addresses, str(PORT), "tun1")


CONTENDER = Contender(
    name="minimal",
    about=f"bench/minimal.py: a hundred lines of Python over UDP, AES-256-GCM, MTU {MTU}",
    needs={"ip": "iproute2"},
    prepare=prepare,
    start=start,
)

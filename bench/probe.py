"""The first packet: measures when the other end of a tunnel answers.

An echo request every 5 ms until one is answered. `ping` cannot do this: it exits at once if there
is no route, which is how every tunnel starts.
"""

from __future__ import annotations

import secrets
import select
import socket
import time
from contextlib import suppress

from bench.errors import BenchError
from bench.lab import Ground
from tunmesh.packets import icmp

INTERVAL = 0.005
PATIENCE = 20.0


def await_first_packet(ground: Ground, address: str, host: int = 0) -> None:
    """Return when `address` answers that host, by default the left one. Raises BenchError if it
    does not within 20 s, or as soon as a process of the ground ends."""
    identity = secrets.randbits(16)
    with (
        ground.hosts[host].namespace,
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as probe,
    ):
        probe.setblocking(False)
        end = time.monotonic() + PATIENCE
        sequence = 0
        while time.monotonic() < end:
            sequence = (sequence + 1) & 0xFFFF
            if _answered(probe, address, identity, sequence):
                return
            ground.check_daemons()
    raise BenchError(f"{address} did not answer within {PATIENCE:g} s")


def _answered(probe: socket.socket, address: str, identity: int, sequence: int) -> bool:
    """Send one request; whether a reply, to this or an earlier one, arrives within INTERVAL."""
    until = time.monotonic() + INTERVAL
    with suppress(OSError):  # no route yet, or the queue is full
        probe.sendto(icmp.echo_request(icmp.IPV4, identity, sequence, bytes(56)), (address, 0))
    while (left := until - time.monotonic()) > 0:
        if not select.select([probe], [], [], left)[0]:
            return False
        try:
            answer = icmp.parse_echo_reply(icmp.IPV4, probe.recv(2048))
        except OSError:  # an ICMP error for an earlier request
            continue
        if answer and answer[0] == identity:
            return True
    return False

"""Many pings at even intervals, which `ping` cannot send: below 10 ms it waits for its clock.

python -m bench.echoes ADDRESS COUNT INTERVAL     prints a JSON list: seconds of each answer
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time

from tunmesh.packets import icmp

PATIENCE = 2.0  # seconds for the last answers


def ask(address: str, count: int, interval: float) -> list[float]:
    """The round-trip times of those that are answered, in seconds. Needs CAP_NET_RAW."""
    identity = os.getpid() & 0xFFFF
    sent: dict[int, float] = {}
    times: list[float] = []
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.connect((address, 0))
        begin = time.monotonic()
        for each in range(count):
            due = begin + each * interval
            times += _answers(raw, identity, sent, due)
            sent[each] = time.monotonic()
            raw.send(icmp.echo_request(icmp.IPV4, identity, each, bytes(56)))
        end = time.monotonic() + PATIENCE
        while sent and time.monotonic() < end:
            times += _answers(raw, identity, sent, min(end, time.monotonic() + 0.1))
    return times


def _answers(
    raw: socket.socket, identity: int, sent: dict[int, float], until: float
) -> list[float]:
    """The round-trip times of what is answered until then."""
    times = []
    while (left := until - time.monotonic()) > 0 and select.select([raw], [], [], left)[0]:
        answer = icmp.parse_echo_reply(icmp.IPV4, raw.recv(2048))
        if answer and answer[0] == identity and answer[1] in sent:
            times.append(time.monotonic() - sent.pop(answer[1]))
    return times


if __name__ == "__main__":
    found = ask(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
    print(json.dumps([round(each, 6) for each in found]))  # noqa: T201

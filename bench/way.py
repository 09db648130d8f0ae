"""A path with delay, limited bandwidth and loss (`bench/way.c`), for kernels without netem. Its
ends are tun devices named eth0."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute

from bench.tools import compile_program
from tunmesh.host.namespaces import Namespace

_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001


@dataclass(frozen=True, slots=True)
class Way:
    """The path's properties, the same in both directions."""

    delay: float
    """Seconds from one end to the other."""
    rate: float
    """Bits per second."""
    loss: float
    """The share of packets lost."""
    room: float = 0.05
    """Size of the queue, in seconds of traffic."""


def lay(
    way: Way, namespaces: Sequence[Namespace], addresses: Sequence[str], directory: Path
) -> int:
    """Join two namespaces by such a path; returns the id of its process."""
    ends = [
        _end(namespace, address) for namespace, address in zip(namespaces, addresses, strict=True)
    ]
    numbers = (way.delay * 1e6, way.rate, way.loss * 1e6, way.room * way.rate / 8)
    program = compile_program("way", directory)
    process = subprocess.Popen(
        [program, *map(str, ends), *(f"{number:.0f}" for number in numbers)],
        pass_fds=ends,
        start_new_session=True,
    )
    for end in ends:
        os.close(end)
    return process.pid


def _end(namespace: Namespace, address: str) -> int:
    with namespace, IPRoute() as ip:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", b"eth0", _IFF_TUN_NO_PI))
        index = socket.if_nametoindex("eth0")
        ip.link("set", index=socket.if_nametoindex("lo"), state="up")
        ip.link("set", index=index, state="up")
        ip.addr("add", index=index, address=f"{address}/24")
    return fd

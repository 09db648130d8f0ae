"""Round trips through the tun, measured without privileges.

With ICMP where unprivileged ICMP sockets are allowed (sysctl net.ipv4.ping_group_range; containers
allow it). Elsewhere with a datagram to a closed port: the other kernel answers that it is
unreachable, which takes as long.
"""

from __future__ import annotations

import secrets
import socket
import time

from tunmesh.addresses import Address
from tunmesh.packets import icmp

PAYLOAD = bytes(56)  # as `ping` sends
_NOBODY = 33434  # a closed port, as traceroute uses


class Echo:
    """Pings one address: call `round_trip()` any number of times, then `close`."""

    def __init__(self, address: Address, timeout: float) -> None:
        self._family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        self._kind = icmp.IPV4 if address.version == 4 else icmp.IPV6
        self._address = str(address)
        self._timeout = timeout
        self._sequence = secrets.randbits(15)
        protocol = socket.IPPROTO_ICMP if address.version == 4 else socket.IPPROTO_ICMPV6
        self.is_icmp = True
        try:
            self._socket = socket.socket(self._family, socket.SOCK_DGRAM, protocol)
        except PermissionError:
            self.is_icmp = False
            self._socket = socket.socket(self._family, socket.SOCK_DGRAM)

    def close(self) -> None:
        self._socket.close()

    def round_trip(self) -> float | None:
        """Seconds; None if there was no answer in time. Raises OSError if sending fails."""
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._socket.settimeout(self._timeout)
        self._socket.connect((self._address, 0 if self.is_icmp else _NOBODY))
        begin = time.perf_counter()
        try:
            if self.is_icmp:
                self._socket.send(icmp.echo_request(self._kind, 0, self._sequence, PAYLOAD))
                self._await_reply(begin)
            else:
                self._socket.send(PAYLOAD)
                self._socket.recv(64)
        except TimeoutError:
            return None
        except ConnectionRefusedError:
            pass  # that is the answer
        return time.perf_counter() - begin

    def _await_reply(self, begin: float) -> None:
        """Raises TimeoutError. An answer to an earlier request is not one to this."""
        while True:
            datagram = self._socket.recv(1024)
            # The kernel set the identity, and lets only answers to this socket through.
            if icmp.HEADER.unpack_from(datagram)[4] == self._sequence:
                return
            left = self._timeout - (time.perf_counter() - begin)
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)

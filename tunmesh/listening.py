"""A TCP port on an address of this machine, of either family.

`::` means every address of both families, whatever net.ipv6.bindv6only says: the kernel's default
would decide otherwise whether IPv4 gets an answer (ipv6(7), IPV6_V6ONLY). Any other IPv6 address is
of one family only.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from tunmesh.errors import OperatorError

BACKLOG = 50


class _Port(tcp.Port):
    """Says explicitly which families it is for."""

    def createInternetSocket(self) -> socket.socket:
        made: socket.socket = super().createInternetSocket()
        if self.addressFamily == socket.AF_INET6:
            is_for_one = self.interface != "::"
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, is_for_one)
        return made


def listen(
    reactor: Any, key: str, address: str, port: int, factory: IProtocolFactory
) -> IListeningPort:
    """Listen there. Raises OperatorError, which names the config key, when it cannot be had."""
    made: IListeningPort = _Port(port, factory, BACKLOG, address, reactor)
    try:
        made.startListening()
    except CannotListenError as error:
        why = error.socketError
        raise OperatorError(
            f"{key}: cannot listen at {shown(address, port)}: {why.strerror or why}"
        ) from None
    return made


def shown(address: str, port: int) -> str:
    """How address and port are written in a config and a URL."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

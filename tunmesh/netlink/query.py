"""Queries the kernel for its interfaces, addresses, routes and rules. Needs no privilege.

Plain sockets with netlink.codec: a library such as pyroute2 would build an object of every entry.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from tunmesh.addresses import Address, Network
from tunmesh.errors import OperatorError
from tunmesh.netlink import codec, kernel, messages
from tunmesh.netlink.codec import Snapshot
from tunmesh.netlink.exchange import open_socket
from tunmesh.netlink.kernel import NetlinkError, State

# The kernel fills at most this much with one part of a dump.
CHUNK = 1 << 16
_TIMEOUT = 10.0  # seconds for one part


def look(networks: Sequence[Network]) -> State:
    """The current state, with the routes that overlap the networks. It blocks: for use before the
    reactor runs. Raises OperatorError."""
    snapshot = Snapshot(networks)
    try:
        with open_socket() as asked:
            asked.settimeout(_TIMEOUT)
            while (request := snapshot.request()) is not None:
                asked.send(request)
                while not snapshot.feed(asked.recv(CHUNK)):
                    pass
    except NetlinkError as failure:
        raise OperatorError(f"cannot use netlink: {os.strerror(failure.errno)}") from None
    except OSError as error:
        raise OperatorError(f"cannot use netlink: {error.strerror or error}") from None
    return snapshot.state


def route_of(
    asked: socket.socket, destination: Address, source: Address | None = None, incoming: int = 0
) -> kernel.Route:
    """The route that the kernel would use; or, with the index of an interface, for what comes in
    there. The answer is there at once, so the socket may be
    non-blocking. Raises OSError, and NetlinkError if the kernel would not send the packet."""
    asked.send(messages.route_request(1, destination, source, incoming))
    return codec.route_answer(asked.recv(CHUNK))

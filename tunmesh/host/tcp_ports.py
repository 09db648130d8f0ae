"""TCP ports that a node listens on, bound before privileges are dropped.

Without an address, one dual-stack socket listens on every address, whatever the sysctl
net.ipv6.bindv6only says (IPV6_V6ONLY of ipv6(7) is set explicitly). Only a machine without any
IPv6 gets an IPv4 socket, and `where` says so. If another process has one of the addresses, that is
an error that names the process. host.udp_ports binds the same number for UDP, by the same rules.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from tunmesh.addresses import Address, shown_target
from tunmesh.errors import InUseError, OperatorError
from tunmesh.host import holders

BACKLOG = 512  # enough for a whole mesh dialing at once; in a flood, longer means longer waits
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


@dataclass(frozen=True, slots=True)
class BoundSocket:
    """A bound socket. `address` is the only one that it has; None means all of the machine's."""

    protocol: ClassVar[holders.Protocol]
    socket: socket.socket
    address: Address | None
    port: int

    @property
    def where(self) -> str:
        """What it is bound to, for messages."""
        place = f"{self.protocol} port {self.port}"
        if self.address is not None:
            return f"{place} of {self.address}"
        if self.socket.family == socket.AF_INET:
            return f"{place}, over IPv4 alone: this machine has no IPv6"
        return place


class Bound(BoundSocket):
    """A listening socket."""

    __slots__ = ()
    protocol = "TCP"

    def listen(self, reactor: Any, factory: IProtocolFactory) -> IListeningPort:
        """Hand the socket to the reactor, which accepts connections for `factory`. Call once."""
        port: IListeningPort = reactor.adoptStreamPort(
            self.socket.fileno(), self.socket.family, factory
        )
        self.socket.close()  # the reactor has a descriptor of its own
        return port


@dataclass(frozen=True, slots=True)
class Keys:
    """The config keys that say where to listen, for error messages."""

    port: str = "control_api/listen_port"
    address: str = "control_api/listen_address"


PORT = Keys()
MONITORING = Keys("monitoring/listen", "monitoring/listen")


def bind(address: Address | None, port: int, keys: Keys = PORT) -> Bound:
    """Listen on this port of one address, or of all. Raises OperatorError that names the key and
    the process that has the port. `::` also means both families."""
    try:
        return Bound(on_one_or_all(address, port, _listening), address, port)
    except OSError as error:
        raise refusal("TCP", address, port, error, keys) from None


def taken_by_others(
    address: Address | None, port: int, protocol: holders.Protocol = "TCP"
) -> list[holders.Holder]:
    """The processes that hold this port, tunmesh nodes excepted."""
    rivals = [
        holder
        for holder in holders.of_port(port, protocol)
        if address is None or holder.address == address or _is_any(holder.address)
    ]
    return [] if any(holder.is_node for holder in rivals) else rivals


def on_one_or_all(
    address: Address | None,
    port: int,
    bound: Callable[[socket.AddressFamily, str, int], socket.socket],
) -> socket.socket:
    """The socket that `bound(family, host, port)` makes for this address, or for all. Raises the
    OSError that it raises."""
    if address is not None:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        return bound(family, str(address), port)
    try:
        return bound(socket.AF_INET6, "::", port)
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
    return bound(socket.AF_INET, "0.0.0.0", port)  # noqa: S104


def _listening(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((host, port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def refusal(
    protocol: holders.Protocol,
    address: Address | None,
    port: int,
    error: OSError,
    keys: Keys = PORT,
    more: str = "",
) -> OperatorError:
    """Why this port could not be had, in one line that says what helps; `more` does, too, if it is
    in use."""
    place = f"on {protocol} port {port}"
    if address is not None:
        place = f"at {shown_target((str(address), port))}" + f" ({protocol})" * (protocol != "TCP")
    start = f"{keys.port}: cannot listen {place}: {error.strerror}"
    match error.errno:
        case errno.EADDRINUSE:
            rivals = holders.of_port(port, protocol)
            by = f" by {'; '.join(map(str, rivals))}" if rivals else ""
            return InUseError(
                f"{protocol} port {port}",
                f"{start}{by}; end that, choose another port, or have each listen on an address of "
                f"its own ({keys.address}){more}",
            )
        case errno.EADDRNOTAVAIL:
            return OperatorError(
                f"{keys.address}: {address} is no address of this machine; "
                "it must be one that it has"
            )
        case errno.EACCES:
            text = f"{start}; a port below 1024 needs the capability NET_BIND_SERVICE"
            return OperatorError(text)
        case _:
            return OperatorError(start)


def _is_any(address: Address | None) -> bool:
    return address is not None and address.is_unspecified

"""Whether this machine forwards packets between the tun and networks that its node advertises.

The kernel forwards only where that is switched on: IPv4 by the interface that a packet comes in on,
IPv6 for all of them at once. It drops packets with a source that it would reach by another
interface where reverse path filtering is strict. And it needs a route. These are settings of the
operator's, for more than the mesh: they are read here, never written. Only a firewall's rules
remain unknown, which only root may read.

For IPv4 the kernel itself is asked what it would do with a packet that comes in on an interface, if
the tun is there.

Sources: Documentation/networking/ip-sysctl.rst, ip_route_input_slow and fib_validate_source in
net/ipv4, ip6_forward in net/ipv6.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from tunmesh.addresses import Address, Network
from tunmesh.errors import OperatorError
from tunmesh.netlink import kernel, query
from tunmesh.netlink.exchange import open_socket
from tunmesh.netlink.kernel import NetlinkError

_SYSCTLS = Path("/proc/sys/net")
_TRIES = 3  # addresses of a network that are asked for: some are this machine's own

Setting = Callable[[str], str | None]  # the value of a sysctl below net; None: there is none


def setting(name: str) -> str | None:
    """The value of a sysctl such as `ipv4/ip_forward`."""
    with suppress(OSError):
        return (_SYSCTLS / name).read_text().strip()
    return None


def obstacles(
    device: str,
    advertised: Sequence[Network],
    meshes: Sequence[Network],
    read: Setting = setting,
) -> list[str]:
    """What prevents packets between the mesh's networks and those that are advertised, in
    sentences with what helps; none if nothing is known to. `device` is the tun, which need not be
    there. Raises OperatorError when netlink cannot be used."""
    try:
        with open_socket() as asked:
            asked.settimeout(1.0)
            found = [
                why
                for network in advertised
                for why in _of_network(asked, device, network, meshes, read)
            ]
    except OSError as error:
        raise OperatorError(f"cannot use netlink: {error.strerror or error}") from None
    return list(dict.fromkeys(found))


def _of_network(
    asked: socket.socket,
    device: str,
    network: Network,
    meshes: Sequence[Network],
    read: Setting,
) -> Iterator[str]:
    place = _place(asked, network)
    if isinstance(place, str):
        yield f"this machine has no route to {network} ({place}): advertise what it can reach"
        return
    host, interface = place
    if interface == device:
        yield f"this machine itself sends what goes to {network} to {device}, to other nodes"
        return
    off = list(_switched_off(network, device, interface, read))
    yield from off
    mesh = next((each for each in meshes if each.version == network.version), None)
    if off or network.version == 6 or mesh is None:
        return
    node = _place(asked, mesh)
    if isinstance(node, str) or node[1] != device:
        return  # there is no tun yet
    for source, destination, name in ((node[0], host, device), (host, node[0], interface)):
        why = _refusal(asked, source, destination, name)
        if why:
            yield (
                f"this machine does not forward what comes from {source} on {name} to "
                f"{destination}: {why}"
            )


def _place(asked: socket.socket, network: Network) -> tuple[Address, str] | str:
    """An address of the network that is not this machine's, and the interface that leads to it; or
    why none does."""
    why = ""
    first = 0 if network.num_addresses < 4 else 1
    for number in range(first, min(first + _TRIES, network.num_addresses)):
        try:
            route = query.route_of(asked, network[number])
        except NetlinkError as error:
            why = os.strerror(error.errno).lower()
            continue
        if route.kind != kernel.LOCAL:
            with suppress(OSError):
                return network[number], socket.if_indextoname(route.interface)
    return why or "its first addresses are this machine's own"


def _switched_off(network: Network, device: str, interface: str, read: Setting) -> Iterator[str]:
    if network.version == 6:
        if read("ipv6/conf/all/forwarding") == "0":
            yield (
                f"IPv6 forwarding is off, so that nothing reaches {network}: sysctl -w "
                "net.ipv6.conf.all.forwarding=1"
            )
        return
    for name, whose in ((device, f"to {network}"), (interface, f"from {network}")):
        value = read(f"ipv4/conf/{name}/forwarding")
        if value is None:  # the tun: it will copy this
            value = read("ipv4/conf/default/forwarding")
        if value == "0":
            yield (
                f"IPv4 forwarding is off on {name}, so that nothing gets {whose}: sysctl -w "
                "net.ipv4.ip_forward=1"
            )


def _refusal(asked: socket.socket, source: Address, destination: Address, name: str) -> str:
    """Why the kernel does not forward such a packet that comes in there; empty if it does, or if
    that cannot be asked."""
    try:
        query.route_of(asked, destination, source, socket.if_nametoindex(name))
    except NetlinkError as error:
        if error.errno in (errno.EXDEV, errno.EINVAL):
            return (
                f"it reaches {source} by another interface, and reverse path filtering is strict: "
                f"sysctl -w net.ipv4.conf.{name}.rp_filter=2"
            )
        if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES):
            return f"{os.strerror(error.errno).lower()} (ip route get {destination} from {source})"
    except OSError:
        return ""  # there is no such interface yet
    return ""

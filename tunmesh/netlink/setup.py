"""Interface addresses, MTU and routes, over netlink, before the reactor runs.

The network namespace is shared: a sidecar lives in that of the application it serves. So `check`
first refuses a mesh that would take anything away from what is there (the rules are in
netlink.overlaps); only then is the device opened and set up by `configure`. Nothing needs to be
undone: addresses and routes belong to the device, and the kernel removes them when the tun's file
descriptor is closed.

The guard is the exception. Without a tun, packets to the mesh would leave by the default route in
clear text. A guard is a route to the mesh's network that refuses packets, with the worst metric
possible, so that the tun's own route wins while it exists. It belongs to no device and outlives the
node; its protocol number marks it as ours.

Sources: rtnetlink(7), include/uapi/linux/{rtnetlink,if_link,if_addr}.h, net/ipv6/addrconf.c.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tunmesh.addresses import Interface, Network, firsts
from tunmesh.errors import OperatorError
from tunmesh.netlink import changes, kernel, overlaps, query
from tunmesh.netlink.exchange import Exchange, open_socket
from tunmesh.netlink.overlaps import Overlay

_ADDRESS_DEADLINE = 20.0  # seconds; it is a millisecond or two on an idle machine


def check(device: str, overlays: Sequence[Overlay]) -> None:
    """Refuse overlays that conflict with this network namespace. Changes nothing.

    Raises OperatorError naming the config key, both networks and the interface.
    """
    for overlay in overlays:
        if overlay.network.version == 6 and not overlay.is_behind and not _has_ipv6():
            raise OperatorError(
                "networking/ipv6 is configured, but IPv6 is disabled here: set sysctl "
                "net.ipv6.conf.all.disable_ipv6=0 for this namespace, or remove networking/ipv6"
            )
    state = query.look([overlay.network for overlay in overlays])
    for overlay in overlays:
        claim = overlaps.clash(device, overlay, state)
        if claim is not None:
            text = claim.refusal(device, overlay)
            raise OperatorError(f"{overlay.key}: {text}")


def clash(device: str, overlay: Overlay) -> str | None:
    """What in this network namespace an overlay clashes with, as a sentence; None if nothing. What
    `device` has itself does not count: it belongs to a node that runs already. Changes nothing.

    Raises OperatorError when netlink cannot be used.
    """
    claim = overlaps.clash(device, overlay, query.look([overlay.network]))
    return None if claim is None else claim.refusal(device, overlay)


def remark(device: str, overlay: Overlay) -> str | None:
    """A remark on an overlay without conflicts, worth a log line; None if there is none."""
    claim = overlaps.around(device, overlay, query.look([overlay.network]))
    if claim is None:
        return None
    return (
        f"{overlay.network} is a part of {claim.network}, which {claim.interface} uses: this "
        f"machine sends what goes to that part to {device}"
    )


def configure(
    device: str,
    overlays: Sequence[Overlay],
    mtu: int,
    queue: int = 0,
    forwards: bool = False,
) -> None:
    """Give `device` (down, just created) its MTU, its txqueuelen (`queue`; 0: the kernel's) and its
    addresses, bring it up, route the mesh to it, and what is reached through gateways. On return
    packets flow. A network without an address of ours yet is routed to the device, too, so that
    nothing that is sent to the mesh meanwhile leaves by the default route. `forwards`: this machine
    forwards packets of others to the device (netlink.changes.PIECE).

    Raises OperatorError; what was done until then is undone when the device is closed.
    """
    meshes = [overlay for overlay in overlays if not overlay.is_behind]
    with _netlink() as asked:
        with _explained(f"find {device}"):
            index = socket.if_nametoindex(device)
        with _explained(f"set the MTU of {device} to {mtu}"):
            asked.change(changes.set_link, index, False, mtu)
        if queue:
            with _explained(f"set the txqueuelen of {device} to {queue}"):
                asked.change(changes.set_link, index, False, queue=queue)
        if not forwards:
            with suppress(OSError):  # it only saves time
                asked.change(changes.limit_pieces, index)
        if _has_ipv6() and mtu >= changes.MIN_MTU_IPV6:
            # One of the kernel's choice: peers could not know whose it is.
            with _explained(f"turn off link-local addresses of {device}"):
                asked.change(changes.forgo_link_local, index)
        for overlay in meshes:
            for address in overlay.addresses:
                _add_address(asked, index, device, address, overlay.broadcast)
            for address in overlay.link_locals:
                _add_address(asked, index, device, address, broadcast=False)
        with _explained(f"bring {device} up"):
            asked.change(changes.set_link, index, True)
        for overlay in meshes:
            if overlay.addresses and overlay.broadcast:
                _add_broadcast(asked, index, device, overlay)
            # The kernel adds the routes to the local subnets together with the addresses.
            for address in firsts(overlay.addresses):
                with _explained(f"limit the segments that are sent to {address.network}"):
                    asked.change(changes.put_subnet, index, address, mtu)
            if overlay.network not in [address.network for address in overlay.addresses]:
                _add_route(asked, index, device, overlay, mtu)
        _await_usable(device, meshes)
        for overlay in overlays:
            if overlay.is_behind:
                _add_route(asked, index, device, overlay, mtu)


def _has_ipv6() -> bool:
    """Whether a new interface gets IPv6. Writing `all` also sets `default`, which new ones copy."""
    try:
        setting = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").read_text()
    except FileNotFoundError:
        return False
    return setting.strip() == "0"


def _add_address(
    asked: Exchange, index: int, device: str, address: Interface, broadcast: bool
) -> None:
    with _explained(f"add address {address} to {device}"):
        asked.add(changes.put_address, index, address, broadcast)


def _add_route(asked: Exchange, index: int, device: str, overlay: Overlay, mtu: int) -> None:
    source = overlay.addresses[0].ip if overlay.addresses else None
    with _explained(f"route {overlay.network} to {device}"):
        asked.add(changes.put_route, index, overlay.network, mtu, source)


def _add_broadcast(asked: Exchange, index: int, device: str, overlay: Overlay) -> None:
    """Make the kernel treat the mesh's broadcast address as one. For those of local subnets it does
    so by itself, since the addresses have their prefixes."""
    last, addresses = overlay.network.broadcast_address, overlay.addresses
    if last in [each.network.broadcast_address for each in addresses]:
        return
    with _explained(f"make {last} a broadcast address of {device}"):
        asked.add(changes.put_broadcast, index, last, addresses[0].ip)


def _await_usable(device: str, overlays: Sequence[Overlay]) -> None:
    """The kernel completes an IPv6 address later, in a work queue (addrconf_dad_work), even when
    it need not look for duplicates; until then it drops what is sent to the address. Last of all it
    makes the address's own route, and tells those who listen for routes. On a machine where routes
    change all the time there is always news: that is no reason to wait for longer."""
    deadline = time.monotonic() + _ADDRESS_DEADLINE
    with open_socket(changes.IPV6_ROUTE_NEWS) as news, open_socket() as asked:
        for address in [address for overlay in overlays for address in overlay.addresses]:
            while not _is_local(asked, address):
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([news], [], [], left)[0]:
                    raise OperatorError(
                        f"address {address} of {device} does not become usable: "
                        "look for what else configures interfaces on this machine"
                    )
                with suppress(OSError):  # ENOBUFS: there was more of it than the socket holds
                    news.recv(query.CHUNK)  # whether it is about ours, the next look tells


def _is_local(asked: socket.socket, address: Interface) -> bool:
    try:
        return query.route_of(asked, address.ip).kind == kernel.LOCAL
    except kernel.NetlinkError:
        return False  # unreachable: not yet


# --- the guard ---


def put_guard(networks: Sequence[Network]) -> list[str]:
    """Make the kernel refuse packets to these networks while there is no tun. Returns those that
    had no guard yet. Raises OperatorError."""
    there = guarded(networks)
    missing = [network for network in networks if network not in there]
    for network in missing:
        with _netlink() as asked, _explained(f"guard {network} by an unreachable route"):
            try:
                asked.add(changes.put_refusal, network, kernel.PROTOCOL_GUARD)
            except FileExistsError:
                if not guarded([network]):  # by another node, since then
                    raise
    return [str(network) for network in missing]


def remove_guard(networks: Sequence[Network]) -> list[str]:
    """Remove the guards of these networks. Returns those that had one. Raises OperatorError."""
    there = guarded(networks)
    for network in there:
        explained = _explained(f"remove the unreachable route to {network}")
        # ESRCH: somebody else has done it since then.
        with _netlink() as asked, explained, suppress(ProcessLookupError):
            asked.change(changes.take_off_refusal, network, kernel.PROTOCOL_GUARD)
    return [str(network) for network in there]


def guarded(networks: Sequence[Network]) -> list[Network]:
    """Which of these networks have a guard. Needs no privilege. Raises OperatorError."""
    return [route.network for route in query.look(networks).routes if _is_guard(route, networks)]


def _is_guard(route: kernel.Route, networks: Sequence[Network]) -> bool:
    return (
        route.network in networks
        and route.kind == kernel.UNREACHABLE
        and route.protocol == kernel.PROTOCOL_GUARD
        and route.table == kernel.TABLE_MAIN
    )


@contextmanager
def _netlink() -> Iterator[Exchange]:
    with _explained("use netlink"):
        asked = Exchange()
    with closing(asked):
        yield asked


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn the kernel's refusal into an OperatorError."""
    try:
        yield
    except OSError as error:
        reason = _reason(error.errno or 0, error.strerror or str(error))
        raise OperatorError(f"cannot {what}: {reason}") from None


def _reason(code: int, text: str) -> str:
    match code:
        case errno.EPERM:
            return (
                "CAP_NET_ADMIN is missing; start as root, or the container with --cap-add NET_ADMIN"
            )
        case errno.EEXIST:
            return "there is one already; remove it or choose another network"
        case _:
            return text

"""Interface addresses, MTU and routes, over netlink, before the reactor runs.

The machine is shared: a sidecar lives in the network namespace of the application it serves.
So first `check` looks whether the mesh would take anything away from what is there, and refuses;
only then is the device opened, and `configure` sets it up. Nothing here undoes anything: address
and routes belong to the device, and the kernel removes them all when the tun's file descriptor is
closed.

What clashes with the mesh network N:

    an address whose subnet overlaps N         N inside it, it inside N, or the same
    a route of the main table overlapping N    likewise: some of its traffic would change its way

and what does not: default routes, also when split into two halves as other VPNs do it, because
being more specific than them is what every route is for; a wider route that leads nowhere
(blackhole, unreachable, prohibit, throw), because it is there to catch what has no better route.
One that leads nowhere *inside* N does clash: it would swallow packets of the mesh.

Sources: rtnetlink(7), include/uapi/linux/{rtnetlink,if_link,if_addr}.h, net/ipv6/addrconf.c.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from pathlib import Path
from typing import Any

from pyroute2.iproute import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from tunmesh.errors import OperatorError

_RT_TABLE_MAIN = 254
_RTN_LOCAL = 2
_RTN_BROADCAST = 3
_RT_TABLE_LOCAL = 255
_LEADS_NOWHERE = (6, 7, 8, 9)  # RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT, RTN_THROW
_RT_SCOPE_LINK = 253
_IFA_F_NODAD = 0x02
_IN6_ADDR_GEN_MODE_NONE = 1
_RTMGRP_IPV6_ROUTE = 0x400
_NEWS_SIZE = 1 << 16
_ADDRESS_DEADLINE = 5.0  # seconds without news; it is a millisecond or two on an idle machine


@dataclass(frozen=True)
class Overlay:
    """One address family of the mesh: all of it, and our own address with its local prefix."""

    network: IPv4Network | IPv6Network
    address: IPv4Interface | IPv6Interface
    broadcast: bool = False  # of the whole network; that of the local subnet comes with the address


@dataclass(frozen=True)
class _Claim:
    """A network that an interface uses already."""

    network: IPv4Network | IPv6Network
    interface: str
    leads_nowhere: bool = False


def check(device: str, overlays: Sequence[Overlay]) -> None:
    """Refuse overlays that this network namespace has no room for. Changes nothing.

    Raises OperatorError naming the config key, both networks and the interface.
    """
    for overlay in overlays:
        if overlay.network.version == 6 and not _has_ipv6():
            raise OperatorError(
                "networking/ipv6 is configured, but IPv6 is disabled here: set sysctl "
                "net.ipv6.conf.all.disable_ipv6=0 for this namespace, or remove networking/ipv6"
            )
    claims = _claims()
    for overlay in overlays:
        text = _first_clash(device, overlay.network, claims)
        if text is not None:
            raise OperatorError(f"networking/ipv{overlay.network.version}/network_cidr: {text}")


def clash(device: str, overlay: Overlay) -> str | None:
    """What in this network namespace an overlay clashes with, as a sentence; None if nothing. What
    `device` has itself does not count: it belongs to a node that runs already. Changes nothing.

    Raises OperatorError when netlink cannot be used.
    """
    others = [claim for claim in _claims() if claim.interface != device]
    return _first_clash(device, overlay.network, others)


def configure(device: str, overlays: Sequence[Overlay], mtu: int) -> None:
    """Give `device` (down, just created) its MTU and addresses, bring it up, route the mesh to it.
    On return packets flow.

    Raises OperatorError; what was done until then goes when the device is closed.
    """
    with _netlink() as ip:
        with _explained(f"find {device}"):
            index = socket.if_nametoindex(device)
        with _explained(f"set the MTU of {device} to {mtu}"):
            ip.link("set", index=index, mtu=mtu)
        if _has_ipv6():
            _forgo_link_local(ip, index, device)
        for overlay in overlays:
            _add_address(ip, index, device, overlay.address)
        with _explained(f"bring {device} up"):
            ip.link("set", index=index, state="up")
        for overlay in overlays:
            if overlay.broadcast:
                _add_broadcast(ip, index, device, overlay)
            # For the local subnet the kernel has made a route together with the address.
            if overlay.network != overlay.address.network:
                _add_route(ip, index, device, overlay)
        _await_usable(ip, device, overlays)


def _has_ipv6() -> bool:
    """Whether a new interface gets IPv6. Writing `all` also sets `default`, which new ones copy."""
    try:
        setting = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").read_text()
    except FileNotFoundError:
        return False
    return setting.strip() == "0"


def _claims() -> list[_Claim]:
    with _netlink() as ip:
        return [*_claimed_by_addresses(ip), *_claimed_by_routes(ip)]


def _first_clash(
    device: str, network: IPv4Network | IPv6Network, claims: Sequence[_Claim]
) -> str | None:
    return next((_refusal(device, network, one) for one in claims if _clashes(network, one)), None)


def _claimed_by_addresses(ip: IPRoute) -> Iterator[_Claim]:
    names = _interface_names(ip)
    for message in ip.get_addr():
        # Of a point-to-point interface, IFA_ADDRESS is the far end and IFA_LOCAL is ours.
        subnet = ip_interface(f"{message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}").network
        yield _Claim(subnet, names[message["index"]])
        local = message.get_attr("IFA_LOCAL")
        if local is not None:
            yield _Claim(ip_network(local), names[message["index"]])


def _claimed_by_routes(ip: IPRoute) -> Iterator[_Claim]:
    names = _interface_names(ip)
    for family in (socket.AF_INET, socket.AF_INET6):
        for message in ip.get_routes(family=family):
            # Length 0 is the default route, two of length 1 are one split in halves.
            if message["dst_len"] <= 1 or message.get_attr("RTA_TABLE") != _RT_TABLE_MAIN:
                continue
            yield _Claim(
                ip_network(f"{message.get_attr('RTA_DST')}/{message['dst_len']}"),
                names.get(_outgoing(message), "no interface"),
                message["type"] in _LEADS_NOWHERE,
            )


def _interface_names(ip: IPRoute) -> dict[int, str]:
    return {link["index"]: link.get_attr("IFLA_IFNAME") for link in ip.get_links()}


def _outgoing(route: Any) -> int:
    """The index of the interface a route leads to; of several, the first; 0 when to none."""
    hops = route.get_attr("RTA_MULTIPATH")
    return int(hops[0]["oif"] if hops else route.get_attr("RTA_OIF") or 0)


def _clashes(network: IPv4Network | IPv6Network, claim: _Claim) -> bool:
    if network.version != claim.network.version or not network.overlaps(claim.network):
        return False
    return not claim.leads_nowhere or claim.network.prefixlen >= network.prefixlen


def _refusal(device: str, network: IPv4Network | IPv6Network, claim: _Claim) -> str:
    if claim.leads_nowhere:
        return (
            f"{network} overlaps the route to {claim.network} that leads nowhere "
            f"(blackhole or the like), so {device} would miss packets; remove that route "
            "or choose another network"
        )
    return (
        f"{network} overlaps {claim.network}, which {claim.interface} uses, so {device} "
        f"would take its traffic; choose a network that nothing on this machine uses"
    )


def _forgo_link_local(ip: IPRoute, index: int, device: str) -> None:
    """No link-local address: with one, the kernel would send router solicitations into the mesh."""
    inet6 = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _IN6_ADDR_GEN_MODE_NONE)]}
    with _explained(f"turn off link-local addresses of {device}"):
        ip.link("set", index=index, af_spec={"attrs": [("AF_INET6", inet6)]})


def _add_address(
    ip: IPRoute, index: int, device: str, address: IPv4Interface | IPv6Interface
) -> None:
    # Duplicates are the roster's matter: nobody in the mesh answers neighbour discovery, and
    # until that times out the address would be unusable.
    flags = {"flags": _IFA_F_NODAD} if address.version == 6 else {}
    with _explained(f"add address {address} to {device}"):
        ip.addr(
            "add",
            index=index,
            address=str(address.ip),
            prefixlen=address.network.prefixlen,
            **flags,
        )


def _add_route(ip: IPRoute, index: int, device: str, overlay: Overlay) -> None:
    with _explained(f"route {overlay.network} to {device}"):
        ip.route(
            "add",
            dst=str(overlay.network),
            oif=index,
            prefsrc=str(overlay.address.ip),
            scope=_RT_SCOPE_LINK,
        )


def _add_broadcast(ip: IPRoute, index: int, device: str, overlay: Overlay) -> None:
    """Make the kernel take the mesh's broadcast address for one. It does that by itself for the
    local subnet's, of which the address is configured with its prefix."""
    if overlay.network.broadcast_address == overlay.address.network.broadcast_address:
        return
    with _explained(f"make {overlay.network.broadcast_address} a broadcast address of {device}"):
        ip.route(
            "add",
            dst=f"{overlay.network.broadcast_address}/32",
            oif=index,
            prefsrc=str(overlay.address.ip),
            type=_RTN_BROADCAST,
            table=_RT_TABLE_LOCAL,
            scope=_RT_SCOPE_LINK,
        )


def _await_usable(ip: IPRoute, device: str, overlays: Sequence[Overlay]) -> None:
    """The kernel completes an IPv6 address later, in a work queue (addrconf_dad_work), even when
    it need not look for duplicates; until then it drops what is sent to the address. Last of all it
    makes the address's own route, and tells those who listen for routes."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as news:
        news.bind((0, _RTMGRP_IPV6_ROUTE))
        news.settimeout(_ADDRESS_DEADLINE)
        for overlay in overlays:
            while not _is_local(ip, overlay.address):
                try:
                    news.recv(_NEWS_SIZE)  # of anything: whether it is ours, the next look tells
                except TimeoutError:
                    raise OperatorError(
                        f"address {overlay.address} of {device} does not become usable: "
                        "look for what else configures interfaces on this machine"
                    ) from None


def _is_local(ip: IPRoute, address: IPv4Interface | IPv6Interface) -> bool:
    (route,) = ip.route("get", dst=str(address.ip))
    return bool(route["type"] == _RTN_LOCAL)


@contextmanager
def _netlink() -> Iterator[IPRoute]:
    with _explained("use netlink"), IPRoute() as ip:
        yield ip


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """The kernel's refusal into one line for a person."""
    try:
        yield
    except NetlinkError as error:
        raise OperatorError(f"cannot {what}: {_reason(error.code, str(error.args[1]))}") from None
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

"""Remarks on the networks of the mesh and those of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_network

from tunmesh.addresses import literal_address, overlap
from tunmesh.config.keys.networking import Networking
from tunmesh.config.lint.remarks import Checks, Remark
from tunmesh.config.values import Automatic
from tunmesh.errors import OperatorError
from tunmesh.netlink.overlaps import Overlay

# What networks of one's own may use: RFC 1918, RFC 6598; for tests (RFC 2544), link-local, loopback
# and reserved (RFC 1112); for documentation (RFC 5737); in IPv6 unique local addresses (RFC 4193),
# link-local, and for documentation (RFC 3849, RFC 9637).
_PRIVATE = (
    *map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")),
    *map(ip_network, ("198.18.0.0/15", "169.254.0.0/16", "127.0.0.0/8", "240.0.0.0/4")),
    *map(ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")),
    *map(ip_network, ("fc00::/7", "fe80::/10", "2001:db8::/32", "3fff::/20")),
)
_SUGGESTED = {4: "10.77.0.0/16 (RFC 1918)", 6: "fd77::/64 (RFC 4193)"}


def _public(networking: Networking, _now: float) -> Iterator[Remark]:
    """A mesh in the address space of somebody else, as by a typing error in 172.16.0.0/12."""
    families = {"ipv4": networking.ipv4, "ipv6": networking.ipv6}
    for name, family in families.items():
        if family is None:
            continue
        network = family.network_cidr
        around = [each for each in _PRIVATE if overlap(each, network)]
        if not any(each.prefixlen <= network.prefixlen for each in around):
            yield Remark(
                (name, "network_cidr"),
                f"has public addresses ({network}): what has them on the internet cannot be "
                f"reached from here then; use private ones, such as {_SUGGESTED[network.version]}",
                is_logged=True,
            )


def _room(networking: Networking, _now: float) -> Iterator[Remark]:
    from tunmesh.netlink import setup

    for key, overlay in _overlays(networking):
        try:
            clash = setup.clash(networking.tun_device_id, overlay)
            remark = setup.remark(networking.tun_device_id, overlay)
        except OperatorError as error:
            text = f"could not be compared with the networks of this machine: {error}"
            yield Remark(key, text)
        else:
            if clash is not None:
                yield Remark(key, clash, is_error=True)
            elif remark is not None:
                yield Remark(key, remark)


def _overlays(networking: Networking) -> Iterator[tuple[tuple[str | int, ...], Overlay]]:
    """Everything that is to be routed to the tun, and the key that says so."""
    allowed = networking.allow_overlap
    families = {"ipv4": networking.ipv4, "ipv6": networking.ipv6}
    for name, family in families.items():
        if family is not None:
            own = family.node_address_cidr
            addresses = () if isinstance(own, Automatic) else own
            overlay = Overlay(family.network_cidr, addresses, allowed=allowed)
            yield (name, "network_cidr"), overlay
    for number, route in enumerate(networking.accept_routes):
        overlay = Overlay(route.network, allowed=allowed, is_behind=True)
        yield ("accept_routes", number), overlay


def _forwards(networking: Networking, _now: float) -> Iterator[Remark]:
    from tunmesh.netlink import forwarding

    if not networking.advertise:
        return
    device = networking.tun_device_id
    try:
        for why in forwarding.obstacles(device, networking.advertise, networking.networks):
            yield Remark(("advertise",), why, is_logged=True)
    except OperatorError as error:
        text = f"could not be compared with the routes of this machine: {error}"
        yield Remark(("advertise",), text)


def _serves_this_machine(networking: Networking, _now: float) -> Iterator[Remark]:
    """What this machine itself needs to reach: its name servers, and in a pod the cluster's API."""
    from tunmesh.names import resolv_conf

    needed = [(server, "a name server of this machine") for server in resolv_conf.read(())]
    service = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    needed += [(service, "the API of the cluster that this pod is in")] if service else []
    for text, what in needed:
        address = literal_address(text)
        for number, route in enumerate(networking.accept_routes):
            if address is not None and address in route.network:
                why = f"{text}, {what}, is in {route.network}: it is reached through the mesh then"
                yield Remark(("accept_routes", number), why, is_logged=True)


# Those of which a node tells when it starts.
ROUTE_CHECKS: Checks = (
    (("tun_mesh", "networking"), Networking, _public),
    (("tun_mesh", "networking"), Networking, _forwards),
    (("tun_mesh", "networking"), Networking, _serves_this_machine),
)
CHECKS: Checks = ((("tun_mesh", "networking"), Networking, _room),)

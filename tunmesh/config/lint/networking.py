"""Remarks on the networks of the mesh and those of this machine."""

from __future__ import annotations

from collections.abc import Iterator

from tunmesh.config.keys.networking import Networking
from tunmesh.config.lint.remarks import Checks, Remark
from tunmesh.config.values import Automatic
from tunmesh.errors import OperatorError
from tunmesh.netlink.overlaps import Overlay


def _room(networking: Networking, _now: float) -> Iterator[Remark]:
    from tunmesh.netlink import setup

    families = {"ipv4": networking.ipv4, "ipv6": networking.ipv6}
    for name, family in families.items():
        if family is None:
            continue
        own = family.node_address_cidr
        overlay = Overlay(
            family.network_cidr,
            () if isinstance(own, Automatic) else own,
            allowed=networking.allow_overlap,
        )
        try:
            clash = setup.clash(networking.tun_device_id, overlay)
            remark = setup.remark(networking.tun_device_id, overlay)
        except OperatorError as error:
            text = f"could not be compared with the networks of this machine: {error}"
            yield Remark((name, "network_cidr"), text)
        else:
            if clash is not None:
                yield Remark((name, "network_cidr"), clash, is_error=True)
            elif remark is not None:
                yield Remark((name, "network_cidr"), remark)


CHECKS: Checks = ((("tun_mesh", "networking"), Networking, _room),)

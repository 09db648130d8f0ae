"""The helper process that changes the device, in the hands of an attacker.

The bytes are requests of the largest size and of other sizes. Whatever is asked: at most two hosts
of each network whose address is automatic are held, sixteen of others, no reserved address ever, no
address of a family that the mesh does not have, and the MTU stays within its bounds.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

from tunmesh.addresses import standing_for
from tunmesh.assigner import wire
from tunmesh.assigner.allowance import (
    AUTOMATIC_AT_A_TIME,
    STATIC_AT_A_TIME,
    Allowance,
    Device,
    Family,
)
from tunmesh.netlink.changes import MAX_MTU, MAX_QUEUE, MIN_MTU, MIN_MTU_IPV6

RESERVED = ip_address("10.77.255.254")
NET4, NET6 = ip_network("10.77.0.0/16"), ip_network("fd77::/48")
AUTOMATIC4, AUTOMATIC6 = Family(NET4, 24, True, (RESERVED,)), Family(NET6, 64, False)
STATIC4 = Family(NET4, 0, True, (RESERVED,), (ip_interface("10.77.1.1/24"),))
DEVICES = [
    Device((AUTOMATIC4,)),
    Device((AUTOMATIC4, AUTOMATIC6)),
    Device((STATIC4,)),
    Device((STATIC4, AUTOMATIC6)),
]


def check(data: bytes) -> None:
    """The first byte says how the device is set up, and of which size the requests are."""
    first = data[:1] or b"\0"
    device = DEVICES[first[0] % 4]
    size = wire.MAX_REQUEST if first[0] < 200 else 1 + (first[0] - 200) // 4
    allowance = Allowance(device)
    families = {family.network.version: family for family in device.families}
    for start in range(1, len(data), size):
        before = list(allowance.held), allowance.mtu, allowance.queue
        try:
            asked = wire.read_request(data[start : start + size])
            allowance.judge(asked)
        except ValueError as error:
            assert str(error)
            assert (allowance.held, allowance.mtu, allowance.queue) == before
            continue
        allowance.done(asked)
        if asked.interface is not None:
            assert (asked.interface in allowance.held) == (asked.what == wire.PUT)
        assert asked.encode() == data[start : start + size]
        assert (MIN_MTU_IPV6 if 6 in families else MIN_MTU) <= allowance.mtu <= MAX_MTU
        assert 0 <= allowance.queue <= MAX_QUEUE
        assert all(each.version in families for each in allowance.held)
        for version, family in families.items():
            held = allowance.of_version(version)
            most = AUTOMATIC_AT_A_TIME if family.is_automatic else STATIC_AT_A_TIME
            assert len(set(held)) == len(held) <= most
            for each in held:
                assert each.ip in family.network
                assert each.network.prefixlen >= family.network.prefixlen
                assert each.ip != RESERVED
                assert each.ip not in standing_for(each.network)
                assert each.ip not in standing_for(family.network)

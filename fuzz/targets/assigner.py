"""The helper process that puts automatic addresses on the device, in the hands of an attacker.

The bytes are requests of WIRE_SIZE and of other sizes. Whatever is asked: at most two hosts of each
network that is configured as automatic are held, no reserved address ever, and no address of a
family that is static.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from tunmesh.addresses import standing_for
from tunmesh.assigner import wire
from tunmesh.assigner.allowance import AT_A_TIME, Allowance, Family

RESERVED = ip_address("10.77.255.254")
FAMILIES = [
    Family(ip_network("10.77.0.0/16"), 24, True, (RESERVED,)),
    Family(ip_network("fd77::/48"), 64, False),
]


def check(data: bytes) -> None:
    """The first byte says how many families are automatic, and of which size the requests are."""
    first = data[:1] or b"\0"
    families = FAMILIES[: 1 + first[0] % 2]
    size = wire.SIZE if first[0] < 240 else first[0] - 239
    allowance = Allowance(families)
    networks = {family.network.version: family.network for family in families}
    for start in range(1, len(data), size):
        before = list(allowance.held)
        try:
            what, address = wire.read_request(data[start : start + size])
            own = allowance.judge(what, address)
        except ValueError as error:
            assert str(error)
            assert allowance.held == before
            continue
        allowance.done(what, own)
        assert (own in allowance.held) == (what == wire.PUT)
        assert wire.request(what, address) == data[start : start + size]
        for version in (4, 6):
            held = allowance.of_version(version)
            assert len(held) <= AT_A_TIME
            for each in held:
                assert each.ip in networks[version]
                assert each.ip != RESERVED
                assert each.ip not in standing_for(each.network)
                assert each.ip not in standing_for(networks[version])

"""How far packets to a group go, and which groups nodes tell each other of.

    interface-local   ff01::/16, ff11::/16 …, and the reserved scope 0    not beyond this machine
    link-local        224.0.0.0/24, ff02::/16, ff12::/16 …               the local subnet
    all others                                                           the whole mesh

Every host is in 224.0.0.1 and ff02::1, and reports neither. The groups of neighbour discovery,
ff02::1:ff00:0/104, are reported but of no use: nodes route addresses, they do not look for them.

Sources: RFC 5771 section 4, RFC 4291 section 2.7, RFC 3376 section 4.2.
"""

from __future__ import annotations

from tunmesh.addresses import is_multicast

ALL_HOSTS = frozenset({b"\xe0\0\0\1", b"\xff\x02" + bytes(13) + b"\1"})
_LOCAL4 = b"\xe0\0\0"
_SOLICITED = b"\xff\x02" + bytes(9) + b"\1\xff"
_INTERFACE, _LINK = 1, 2


def is_link_local(group: bytes) -> bool:
    """Whether packets to this group are for the local subnet only, or for less."""
    if len(group) == 4:
        return group.startswith(_LOCAL4)
    return group[1] & 0xF <= _LINK


def leaves_machine(group: bytes) -> bool:
    """Whether packets to this group go to other nodes at all."""
    return len(group) == 4 or group[1] & 0xF > _INTERFACE


def is_told(group: bytes) -> bool:
    """Whether an interest in this group is told to other nodes."""
    return (
        is_multicast(group)
        and leaves_machine(group)
        and group not in ALL_HOSTS
        and not group.startswith(_SOLICITED)
    )

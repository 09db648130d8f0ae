"""IGMP and MLD out of the tun, and what peers say of groups: read, believed, told, and bounded.

0 ‖ type ‖ what follows the checksum      an IGMP message, with a correct checksum
1 ‖ type ‖ what follows the checksum      an MLD message, with a correct checksum
2 ‖ frame                                 any packet; its length is corrected first
3 ‖ as often as there are: size (1) ‖ what follows the number of that message     messages of a peer
"""

from __future__ import annotations

from fuzz.choices import Choices
from fuzz.targets.packet import with_correct_length
from tunmesh.addresses import is_multicast
from tunmesh.errors import PeerError
from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.multicast import scope
from tunmesh.multicast.audience import GROUP_SIZE, SOURCE_SIZE, Audience
from tunmesh.multicast.own import MOST, MOST_SOURCES, ROBUSTNESS, OwnInterests
from tunmesh.packets import igmp, link_control, mld
from tunmesh.packets.group_records import Record
from tunmesh.packets.virtio import between, well_formed
from tunmesh.testing.group_reports import igmp as igmp_frame
from tunmesh.testing.group_reports import mld as mld_frame
from tunmesh.testing.group_reports import raw
from tunmesh.wire.interests import Interest, Interests, parts
from tunmesh.wire.sizes import MAX_INTEREST_SOURCES, MAX_INTERESTS

_VERSIONS = frozenset({4, 6})
_ME = {4: raw("10.77.0.1"), 16: raw("fd77::1")}


def check(data: bytes) -> None:
    kind, rest = data[0] % 4 if data else 0, data[1:1500]
    if kind == 3:
        _check_peer(Choices(rest))
        return
    number, body = rest[0] if rest else 0, rest[1:]
    frame = with_correct_length(rest)
    if kind == 0:
        frame = igmp_frame(number, body)
    elif kind == 1:
        frame = mld_frame(number, body)
    if not well_formed(frame):
        return
    packet = frame[10:]
    for read in (igmp.read, mld.read):
        records = read(packet)
        if records is not None:
            assert link_control.is_link_control(frame), "a report would be sent to a group"
            _check_records(records)


def _check_records(records: tuple[Record, ...]) -> None:
    """They are believed within the bounds, and what is told of them can be read."""
    own = OwnInterests()
    for _ in range(2):
        own.reported(records)
        assert len(own) <= MOST
        assert sum(len(each.sources) for each in own) <= MOST_SOURCES
        told = tuple(own)
        for each in told:
            assert not each.is_over and scope.is_told(each.group)
            assert len(each.sources) <= MAX_INTEREST_SOURCES
        found: list[Interest] = []
        for part in parts(told):
            message = Interests(1, True, _VERSIONS, part).encode()
            assert len(message) <= MAX_INTERESTS
            found += Interests.decode(message).groups
        assert tuple(found) == told
    own.changes()
    for _ in range(ROBUSTNESS + 1):
        own.answered()
    assert not len(own) and all(each.is_over for each in own.changes())


def _check_peer(choices: Choices) -> None:
    """Whatever it says, what is kept of it is bounded, and given back when it parts."""
    memory = MemoryBudget(1 << 16)
    audience: Audience[str] = Audience((4, 6), OwnInterests())
    number = 0
    while choices:
        number += 1
        payload = b"M" + number.to_bytes(8) + choices.take(choices.number())
        try:
            said = Interests.decode(payload)
        except PeerError:
            continue
        audience.heard("peer", said, lambda: memory.account("192.0.2.1"))
        groups = audience.members()
        sources = sum(len(members["peer"].sources) for members in groups.values())
        assert len(groups) <= MOST and sources <= MOST_SOURCES
        assert memory.held == GROUP_SIZE * len(groups) + SOURCE_SIZE * sources <= 1 << 15
        for each in said.groups:
            assert is_multicast(each.group)
            source = _ME[len(each.group)]
            got = audience.recipients(each.group, between(source, each.group), ("peer",))
            assert not got or scope.leaves_machine(each.group)
            assert not audience.hears(each.group, True) or each.group in scope.ALL_HOSTS
    audience.part("peer")
    assert not memory.held and not audience.members()

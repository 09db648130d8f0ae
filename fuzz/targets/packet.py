"""Packets from a peer: whether they may be written to the tun, and which node they belong to.

1: first correct the length in the IP header, or almost nothing is well formed ‖ frame
"""

from __future__ import annotations

import struct
from ipaddress import ip_network

from tests.dataplane.test_table import (
    ALICE,
    BOB,
    NETWORKS,
    OWN,
    ROUTES,
    Neighbour,
    ends,
    table,
    way_in,
)
from tests.packets.test_virtio import allowed
from tunmesh.dataplane.drops import DropReason
from tunmesh.dataplane.gateways import Accepted
from tunmesh.dataplane.table import Table
from tunmesh.packets import virtio
from tunmesh.packets.flow_key import flow_key

# Why a packet whose addresses are right may be dropped: see the target `icmp`.
INSPECTED = (DropReason.ICMP_ERROR, DropReason.FRAGMENTS, DropReason.MALFORMED)
OUTSIDE = tuple(map(ip_network, ("192.0.0.0/8", "0.0.0.0/1", "2000::/3")))


def _with_gateways() -> Table[Neighbour]:
    made: Table[Neighbour] = Table(OWN, NETWORKS, accepted=tuple(map(Accepted, OUTSIDE)))
    for peer, name in ((ALICE, b"alice"), (BOB, b"bob")):
        made.lead(peer, OUTSIDE, name)
    made.gateways.advertise((ip_network("198.51.100.0/24"), ip_network("fd20::/64")))
    return made


GATEWAYS = _with_gateways()


def check(data: bytes) -> None:
    frame = with_correct_length(data[1:]) if data[:1] == b"\1" else data[1:]
    is_good = virtio.well_formed(frame)
    assert is_good == allowed(frame), "the quick check and the slow one disagree"
    assert virtio.well_formed(memoryview(frame)) == is_good
    if is_good:
        _check_good(frame)
    routes = table(ROUTES)
    for peer in (ALICE, BOB):
        reason = way_in(ROUTES, peer, frame)
        accepted, drops = routes.inbound(peer, [memoryview(frame)])
        if not reason and drops:
            assert virtio.read(frame)[2], "only special packets are inspected"
            assert drops[0][0] in INSPECTED
            continue
        assert drops == ([(reason, frame)] if reason else [])
        assert [bytes(good) for good in accepted] == ([] if reason else [frame])
    batches, drops = routes.outbound([frame])
    assert len(batches) + len(drops) == 1
    _check_gateways(frame, is_good)


def _check_gateways(frame: bytes, is_good: bool) -> None:
    """With two gateways to all that is outside the mesh, each frame goes by one of them, always the
    same, or has a reason."""
    for _ in range(2):
        batches, drops = GATEWAYS.outbound([frame])
        assert len(batches) + len(drops) == 1
        assert batches == GATEWAYS.outbound([frame])[0], "a flow stays with its gateway"
    for peer in (ALICE, BOB):
        accepted, drops = GATEWAYS.inbound(peer, [memoryview(frame)])
        assert len(accepted) + len(drops) == 1
    if is_good:
        assert 8 <= len(flow_key(frame)) <= 36


def with_correct_length(frame: bytes) -> bytes:
    """With the correct length in the IP header, if it has one."""
    size = len(frame) - virtio.HEADER
    if 20 <= size < 1 << 16 and frame[10] >> 4 == 4:
        return frame[:12] + struct.pack(">H", size) + frame[14:]
    if 40 <= size < 1 << 16 and frame[10] >> 4 == 6:
        return frame[:14] + struct.pack(">H", size - 40) + frame[16:]
    return frame


def _check_good(frame: bytes) -> None:
    """The frame is exactly one packet, and the offsets in its virtio header stay inside it."""
    size = len(frame) - virtio.HEADER
    assert virtio.read(frame)[:2] == tuple(address.packed for address in ends(frame))
    assert not virtio.well_formed(frame + b"\0")
    assert not virtio.well_formed(frame[:-1])
    flags, kind, headers, _, start, offset = virtio.VIRTIO.unpack_from(frame)
    assert headers <= size
    assert not flags & virtio.NEEDS_CSUM or 20 <= start <= start + offset + 2 <= size
    assert kind == virtio.GSO_NONE or flags & virtio.NEEDS_CSUM
    assert virtio.well_formed(bytes(virtio.HEADER) + frame[virtio.HEADER :]), "plain it is good too"

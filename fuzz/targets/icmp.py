"""ICMP: packets of this machine that are answered, and messages from a peer with quoted packets.

0 ‖ protocol ‖ the rest of an IPv4 packet behind addresses and length   of this machine, to nobody
1 ‖ protocol ‖ the rest of an IPv6 packet                               the same
2 ‖ frame                     any packet of this machine; its length is corrected first
3 ‖ mtu (2) ‖ frame           the same, to a peer whose tun has this MTU
4 ‖ type ‖ code ‖ field (4) ‖ quoted packet       an ICMP message from a peer
5 ‖ type ‖ code ‖ field (4) ‖ quoted packet       an ICMPv6 message
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from fuzz.targets.packet import with_correct_length
from tests.dataplane.test_inspection import ME, ME6, NETWORKS, OWN, PEER, PEER6
from tests.packets.test_replies import is_right
from tests.packets.test_virtio import PLAIN, ip_packet
from tunmesh.dataplane.answers import Answers
from tunmesh.dataplane.drops import Drop, DropReason
from tunmesh.dataplane.inspection import Inspection
from tunmesh.dataplane.peer import Limits
from tunmesh.dataplane.table import Table
from tunmesh.packets import ip_headers, virtio

_NOBODY, _NOBODY6 = "10.77.0.99", "fd77::99"
_ERRORS = {4: (3, 4, 5, 11, 12), 6: (*range(128), 137)}
_LINK_CONTROL = (130, 131, 132, 133, 134, 135, 136, 143)  # MLD and neighbour discovery
_UNREACHABLE = {4: (3, 1), 6: (1, 3)}
_LONGEST = {4: 576, 6: 1280}


def check(data: bytes) -> None:
    kind, rest = data[0] % 6 if data else 0, data[1:]
    if kind < 2:
        ends = (ME, _NOBODY) if kind == 0 else (ME6, _NOBODY6)
        _check_unreachable(PLAIN + ip_packet(*ends, rest[1:1500], rest[0] if rest else 0))
    elif kind == 2:
        _check_unreachable(with_correct_length(rest))
    elif kind == 3:
        _check_too_big(int.from_bytes(rest[:2]), with_correct_length(rest[2:]))
    else:
        _check_message(4 if kind == 4 else 6, rest[:6].ljust(6, b"\0"), rest[6:1500])


def _made(run: Callable[[Answers], object]) -> list[bytes]:
    """The answers that a node gives."""
    written: list[bytes] = []
    now = 0.0
    table: Table[str] = Table(OWN, NETWORKS)
    answers = Answers(table, written.extend, lambda: now)
    answers.joined()
    now = 10.0
    run(answers)
    return written


def _check_unreachable(frame: bytes) -> None:
    drops: list[Drop] = [(DropReason.NO_ROUTE, frame)]
    answers = _made(lambda node: node.take(drops))
    assert len(answers) <= 1
    for answer in answers:
        assert _kind(answer) == _UNREACHABLE[answer[10] >> 4]
        _check_answer(answer, frame)


def _check_too_big(mtu: int, frame: bytes) -> None:
    destination = frame[26:30] if frame[10:11] < b"\x50" else frame[34:50]
    if len(destination) not in (4, 16):
        return  # no route leads there
    sorted_into: list[object] = []
    answers = _made(lambda node: sorted_into.extend(node.screen(Limits(mtu), [frame])))
    taken, drops = sorted_into
    if taken:
        assert (taken, drops, answers) == ([frame], [], [])
        return
    assert drops == [(DropReason.TOO_BIG, frame)]
    assert len(frame) - virtio.HEADER > mtu
    assert frame[10] >> 4 != 4 or frame[16] & 0x40, "a packet that may be fragmented is refused"
    for answer in answers:
        version = answer[10] >> 4
        assert _kind(answer) == ((3, 4) if version == 4 else (2, 0))
        at = 10 + (20 if version == 4 else 40) + 4
        assert int.from_bytes(answer[at : at + 4]) == mtu
        _check_answer(answer, frame)


def _kind(answer: bytes) -> tuple[int, int]:
    at = 30 if answer[10] >> 4 == 4 else 50
    return answer[at], answer[at + 1]


def _check_answer(answer: bytes, frame: bytes) -> None:
    """It is right, goes back to this node and to nobody else, and is never about an error."""
    assert is_right(answer)
    version = answer[10] >> 4
    assert version == frame[10] >> 4
    assert len(answer) - 10 <= _LONGEST[version]
    own = {address.packed for address in OWN}
    source, destination, _ = virtio.read(frame)
    assert virtio.read(answer)[:2] == (destination, source)
    assert source in own
    quoted = answer[(38 if version == 4 else 58) :]
    assert frame[10:].startswith(quoted)
    headers = ip_headers.read(frame[10:])
    assert headers is not None
    assert headers.fragment is None or not headers.fragment.start
    if headers.protocol == (ip_headers.ICMP if version == 4 else ip_headers.ICMPV6):
        assert frame[10 + headers.at] == (8 if version == 4 else 128)


def _check_message(version: int, head: bytes, quoted: bytes) -> None:
    """A peer's error is carried only if it quotes a packet from this node's address to the peer's;
    a redirect never is, nor what is for a node's own link; everything else that is no error is."""
    message = head[:2] + bytes(2) + head[2:] + quoted
    protocol = ip_headers.ICMP if version == 4 else ip_headers.ICMPV6
    ends = (PEER, ME) if version == 4 else (PEER6, ME6)
    frame = PLAIN + ip_packet(*ends, message, protocol)
    own = [address.packed for address in OWN]
    routes = {ip_address(address).packed: "peer" for address in (PEER, PEER6)}
    inspection: Inspection[str] = Inspection(own, NETWORKS, lambda: 0.0, holder=routes.get)
    why = inspection.refuses("peer", memoryview(frame))
    if version == 6 and head[0] in _LINK_CONTROL:
        assert why is DropReason.LINK_CONTROL
        return
    if head[0] not in _ERRORS[version]:
        assert why is None
        return
    size = 4 if version == 4 else 16
    start = 12 if version == 4 else 8
    source = quoted[start : start + size]
    destination = quoted[start + size : start + 2 * size]
    is_ours = (
        head[0] != (5 if version == 4 else 137)
        and len(destination) == size
        and quoted[0] >> 4 == version
        and source in own
        and destination in routes
    )
    assert (why is None) == is_ours
    assert why in (None, DropReason.ICMP_ERROR)

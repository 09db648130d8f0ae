"""Datagrams: frames that arrive with losses, copies and in another order; and datagrams of others.

0 ‖ size of datagrams ‖ up to four frames ‖ what becomes of the datagrams, one by one
1 ‖ size ‖ bytes: from a stranger who knows the index
2 ‖ size ‖ a frame ‖ for each slice: how far the counter goes ahead, and what is changed in it
3 ‖ for each datagram: size of the payload, then headers and trailer as a member may make them up
"""

from __future__ import annotations

from fuzz.choices import Choices
from tests.packets.test_virtio import ip_packet
from tests.support.datagrams import Ledger, datagram_of, received, sealed, two_ends
from tests.support.segmentation import tcp_frame, udp_frame
from tunmesh.packets import virtio
from tunmesh.udp.session import Session
from tunmesh.udp.slices import cut, fitting
from tunmesh.wire.datagrams import SLICE_OVERHEAD

_SIZES = (1200, 512, 1201, 1472, 8972)
_PAYLOADS = (1, 40, 1100, 1500, 4000, 9000, 30_000, 64_000)
_UNITS = (1448, 0, 8, 536, 1172, 9000)
_PATTERN = bytes(range(251)) * 256
_MOST = 65_535 + 255  # bytes of a frame, whatever a member says


def check(data: bytes) -> None:
    choices = Choices(data)
    (_delivery, _stranger, _edited, _made_up)[choices.number(4)](choices)


def _frame(choices: Choices, port: int) -> bytes:
    what, payload = choices.number(), _PATTERN[: choices.pick(_PAYLOADS)]
    version = 4 if what & 1 else 6
    identification = 0xFFFE if what & 2 else 0
    if what & 12 == 12:
        return bytes(10) + ip_packet("10.77.0.2", "10.77.0.1", payload, 50)
    if what & 12 == 8:
        unit = max(choices.pick(_UNITS), 1)
        return udp_frame(
            payload[: unit * 64], port, version=version, unit=unit, identification=identification
        )
    unit = choices.pick(_UNITS)
    return tcp_frame(
        payload[: (unit or 1000) * 64],
        port,
        version=version,
        extra=choices.number(11),
        options=choices.number(11),
        unit=unit,
        sequence=0xFFFFF000 if what & 16 else 1,
        flags=choices.number(),
        identification=identification,
    )


def _delivery(choices: Choices) -> None:
    size = choices.pick(_SIZES)
    frames = [_frame(choices, 5000 + port) for port in range(1 + choices.number(4))]
    client, server = two_ends()
    datagrams = sealed(client, frames, size)
    if not choices:
        arrived = received(server, datagrams)
        assert arrived == list(fitting(frames, size - SLICE_OVERHEAD)), "not what was sent"
    ledger, at = Ledger(frames), 0
    arriving: list[bytes] = []
    while choices and at < len(datagrams) + 500:
        what = choices.number()
        some = datagrams[at : at + 1 + (what >> 3)]
        match what & 7:
            case 0 | 1 | 2:
                arriving += some
            case 3:
                arriving += some[::-1]
            case 4:
                some = []
                arriving.append(datagrams[choices.number() % len(datagrams)])
            case 5:
                some = []
                ledger.check(received(server, arriving, 1 + (what >> 3)))
                arriving = []
        at += len(some)
    ledger.check(received(server, arriving))
    assert server.undecryptable == server.malformed == 0


def _stranger(choices: Choices) -> None:
    _, server = two_ends()
    size = 1 + choices.number()
    data = choices.rest()
    if data:
        assert not server.open(memoryview(data), size)
    assert server.frames() == []
    assert (server.received, server.highest) == (0, 0)


def _edited(choices: Choices) -> None:
    """What another implementation may make of a frame: bytes near the end of the plaintexts, where
    headers and trailer are, differ."""
    room = choices.pick(_SIZES) - SLICE_OVERHEAD
    frame = next(fitting([_frame(choices, 5000)], room))
    counter = 0
    _, server = two_ends()
    for text in cut(frame, room)[:40]:
        counter += 1 + choices.number(3)
        changed = bytearray(text)
        for _ in range(choices.number(4)):
            changed[-1 - choices.number() % len(text)] = choices.number()
        _receive(server, datagram_of(bytes(changed), counter))
        if choices.number(4) == 1:
            _deliver(server)
    _deliver(server)
    assert server.received and not server.undecryptable


def _made_up(choices: Choices) -> None:
    _, server = two_ends()
    counter = 0
    while choices and counter < 100:
        counter += 1
        text = _PATTERN[: choices.pick((0, 1, 8, 100, 1400, 65_000))]
        head = choices.take(choices.number())
        _receive(server, datagram_of(text[: 65_400 - len(head)] + head + choices.take(8), counter))
        if choices.number(4) == 1:
            _deliver(server)
    _deliver(server)
    assert server.received == counter


def _receive(server: Session, datagram: bytes) -> None:
    server.open(memoryview(datagram), len(datagram))


def _deliver(server: Session) -> None:
    for frame in server.frames():
        assert len(frame) <= _MOST
        virtio.well_formed(frame)

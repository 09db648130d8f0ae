"""The initial inputs of every target: real messages, frames, handshakes, files.

They save the fuzzer from discovering the formats by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface

from fuzz.corpus import CORPUS
from tests.auth.test_handshake import DIALER, HONEST, LISTENER
from tests.netlink.test_address_news import GONE, NEW, TENTATIVE, TUN, news
from tests.packets.test_replies import packet as to_dns
from tests.packets.test_udp_segments import datagram
from tests.packets.test_virtio import PLAIN, ip_packet, segment4, segment6
from tests.support import configs
from tests.support.nameservers import answer, query
from tests.support.segmentation import tcp_frame, udp_frame
from tests.wire.test_messages import INTERESTS, PAYLOADS, RECORD_BYTES, record_with
from tunmesh.assigner import wire
from tunmesh.assigner.wire import Request
from tunmesh.packets.group_records import Kind
from tunmesh.testing.group_reports import encoded, igmp3, mld2, raw, record
from tunmesh.wire.datagrams import HEAD, TCP, TRAILER, UDP, WHOLE
from tunmesh.wire.netstring import encode
from tunmesh.wire.proofs import Claim, decode_shown


def seeds() -> Mapping[str, Mapping[str, bytes]]:
    """By target and name."""
    return {
        "netstring": _netstring(),
        "messages": {
            f"message-{payload[:1].hex()}": payload
            for decode, payload in PAYLOADS.items()
            if decode not in (Claim.decode, decode_shown)  # no tags: see the target `handshake`
        }
        | {"record-routes": record_with(routes=["192.168.5.0/24", "fd5e::/64"])},
        "handshake": _handshake(),
        "packet": _packet(),
        "segments": _segments(),
        "datagrams": _datagrams(),
        "gossip": _gossip(),
        "dns": _dns(),
        "icmp": _icmp(),
        "news": _news(),
        "replays": _replays(),
        "reports": _reports(),
        "assigner": _assigner(),
        "config": {
            "minimal": configs.MINIMAL.encode(),
            "original": configs.ORIGINAL.encode(),
            "environment": configs.MINIMAL.replace("4567", "${PORT}").encode(),
            "range": configs.MINIMAL.replace(
                "uid: 1000", configs.timing("request_timeout", "1..2s")
            ).encode(),
        },
    }


def write() -> None:
    for target, inputs in seeds().items():
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        for old in (CORPUS / target).glob("real-*"):
            old.unlink()
        for name, data in inputs.items():
            (CORPUS / target / f"real-{name}").write_bytes(data)


def _netstring() -> dict[str, bytes]:
    stream = b"".join(encode(payload) for payload in (b"", b"hello", RECORD_BYTES))
    return {
        "stream": b"\xff\x00" + stream,
        "cut": b"\xff\x02\x03\x05" + stream + b"12",
        "oversized": b"\x01\x00" + stream,
        "wrong-comma": b"\xff\x00" + b"5:hello;",
        "leading-zero": b"\xff\x00" + b"05:hello,",
    }


def _handshake() -> dict[str, bytes]:
    told = bytes(16)
    changes = {
        "whole": bytes(3),
        "rotation": b"\0\1\2" + told,
        "spliced": b"\0\0\0\7" + told,
        "flipped": b"\0\0\0\0\0\0" + b"\2\0\x09\x01",
        "cut-short": b"\0\0\0\0" + b"\3\0\x20",
        "longer": b"\0\0\0\0\0" + b"\4\1x",
        "replayed": b"\0\0\0\0" + b"\5\0\5\1\5\2\5\3",
        "reflected": b"\0\0\0\0\0\0\0" + b"\6\2",
        "stranger": b"\0\0\0\0" + b"\7",
        "garbage": b"\2\0" + b"\0\0" * 4,
        "liar": b"\3" + replace(DIALER, name="other").encode(),
        "impostor": b"\3" + LISTENER.encode(),
        "liar-nonsense": b"\3{",
        "sealed": b"\4\0" + bytes(3),
        "sealed-flipped": b"\4\1" + b"\2\0\x09\1",
        "sealed-nonsense": b"\4\0" + b"\1\x04abcd",
    }
    # a scenario has one byte for their length
    heads = [message[:255] for message in HONEST.carried]
    raw = {f"message-{n}": b"\2\1\0\1" + bytes((len(m),)) + m for n, m in enumerate(heads)}
    return changes | raw


def _assigner() -> dict[str, bytes]:
    """Requests of 19 bytes after a first byte: 0 to 3 for the device, 255 for requests of 14, 200
    for those of 1, 232 for those of 9."""

    def about(what: int, *addresses: str) -> list[bytes]:
        return [Request(what, ip_interface(each)).encode() for each in addresses]

    put4 = about(wire.PUT, *(f"10.77.3.{n}/24" for n in (1, 2, 3)))
    put6 = about(wire.PUT, *(f"fd77::{n}/64" for n in (1, 2, 3)))
    off = about(wire.TAKE_OFF, "10.77.3.1/24", "fd77::1/64")
    refused = about(wire.PUT, "10.77.3.0/24", "10.77.255.254/24", "192.0.2.1/24", "fd77::/64")
    static = about(wire.PUT, "10.77.3.1/32", "10.77.3.1/16", "10.77.3.1/8")
    own = about(wire.TAKE_OFF, "10.77.1.1/24")
    links = [Request(wire.LINK, None, *each).encode() for each in ((9000, 0), (575, 0), (0, 10001))]
    return {
        "static": b"\2" + b"".join(static + own),
        "link": b"\xe8" + b"".join(links),
        "restore": b"\xc8" + Request(wire.RESTORE).encode(),
        "too-many": b"\1" + b"".join(put4 + put6),
        "moved": b"\1" + b"".join([put4[0], put4[1], off[0], put4[2], put6[0], off[1], off[1]]),
        "one-family": b"\0" + b"".join(put4[:1] + put6[:1] + off),
        "refused": b"\1" + b"".join(refused),
        "other-size": b"\xff" + put4[0],
    }


def _packet() -> dict[str, bytes]:
    frames = {
        "plain4": PLAIN + ip_packet("10.77.0.2", "10.77.0.1", b"hello"),
        "plain6": PLAIN + ip_packet("fd77::2", "fd77::1", b"hello"),
        "spoofed": PLAIN + ip_packet("10.77.3.4", "10.77.0.1", b"hello"),
        "broadcast": PLAIN + ip_packet("10.77.0.2", "10.77.0.255", b"hello"),
        "from_outside": PLAIN + ip_packet("192.168.5.9", "10.77.0.1", b"hello"),
        "to_outside": PLAIN + ip_packet("10.77.0.2", "198.51.100.9", b"hello"),
        "multicast6": PLAIN + ip_packet("fd77::2", "ff02::1", b"hello"),
        "tcp4": segment4()[:110],
        "tcp6": segment6()[:130],
        "udp4": _segment(4),
        "udp6": _segment(6),
    }
    return {name: b"\1" + frame for name, frame in frames.items()}


def _segment(version: int) -> bytes:
    """Datagrams of 10, 10 and 3 bytes, joined into one segment."""
    frame = datagram(b"a" * 10 + b"b" * 10 + b"c" * 3, version)
    start = 20 if version == 4 else 40
    return bytes((1, 5, start + 8, 0, 10, 0, start, 0, 6, 0)) + frame[10:]


def _segments() -> dict[str, bytes]:
    return {
        "cut4": b"\1" + _segment(4),
        "cut6": b"\1" + _segment(6),
        "burst4": b"\0" + b"\1\5\0\x14",
        "burst6": b"\0" + b"\0\5\0\x14",
        "two-flows": b"\0" + b"\1\5\0\x05" + b"\3\5\0\x05" + b"\1\5\0\x05",
        "fragments": b"\0" + b"\x0d\5\0\x05",
        "large": b"\0" + b"\1\x09\0\2" + b"\1\x0a\0\2",
    }


def _datagrams() -> dict[str, bytes]:
    # A frame: what, payload, unit, options of IP and TCP, flags (TCP); what, payload, unit (UDP).
    tcp4, tcp6 = b"\x13\x07\0\0\3\x99", b"\0\x07\0\2\0\x10"
    udp, other = b"\x09\x05\3", b"\x0d\x04"
    all_kinds = b"\0\0\3" + tcp4 + tcp6 + udp + other
    bulk, joined = tcp_frame(bytes(90))[:62], udp_frame(bytes(90))[:38]

    def slice_of(head: bytes, number: int, offset: int, total: int, kind: int) -> bytes:
        """100 bytes of payload, with these headers."""
        return (
            b"\3"
            + bytes((len(head),))
            + head
            + TRAILER.pack(number, offset, total, len(head), kind)
        )

    return {
        "whole": all_kinds,
        "hole": all_kinds + b"\x18\x0e\xf8\xf8",
        "reordered": all_kinds + b"\x1b\x13\x0b\xf8\xf8",
        "doubled": all_kinds + b"\x50\4\1\4\7\5\xf8\xf8",
        "small": b"\0\1\0" + tcp4 + b"\x18\x0e\x18\x0e\x18\x0d\xf8",
        "stranger": b"\1\x7f" + HEAD.pack(9, 1) + bytes(300),
        "edited": b"\2\0" + tcp4 + b"\0\1\7\5\0\0\0\1\2\3",
        "edited-other": b"\2\0" + other + b"\0\1\6\5\0\0\0\1\2\3",
        "made-up-tcp": b"\3"
        + slice_of(bulk, 0, 0, 900, TCP)
        + b"\0"
        + slice_of(bulk, 1, 100, 900, TCP),
        "made-up-udp": b"\3"
        + slice_of(joined, 0, 0, 900, UDP)
        + b"\1"
        + slice_of(joined, 2, 200, 900, UDP),
        "made-up-whole": b"\3"
        + slice_of(bytes(10), 0, 0, 200, WHOLE)
        + b"\1"
        + slice_of(bytes(10), 1, 100, 200, WHOLE),
    }


def _dns() -> dict[str, bytes]:
    joined = bytearray(_segment(4))
    joined[26:30], joined[32:34] = b"\x0a\x09\xff\xfe", b"\0\x35"
    asked = {
        "node": query("Web-1.mesh"),
        "group": query("web.mesh", 28, size=1232),
        "all": query("_nodes.mesh", 255, size=65535),
        "nobody": query("nobody.mesh"),
        "reverse": query("1.0.9.10.in-addr.arpa", 12),
        "reverse6": query(ip_address("fd09::1").reverse_pointer, 12),
        "other": query("example.com"),
        "loop": query("example.com", number=0xFFFF),
        "zone": query("mesh", 6),
        "compressed": query()[:12] + b"\xc0\x0c\0\1\0\1",
        "compressed-late": query()[:12] + b"\3web\xc0\x0c\0\1\0\1",
        "dotted": query()[:12] + b"\7web.web\4mesh\0\0\1\0\1",
    }
    said = answer(query("example.com"), [f"192.0.2.{n}" for n in range(9)])
    return {
        **{f"query-{name}": b"\1" + message for name, message in asked.items()},
        "query-by-ipv6": b"\2" + asked["node"],
        "joined": b"\0" + bytes(joined),
        "ping": b"\0" + to_dns(b"\x08\0\0\0\0\1\0\1hello", 4, 1),
        "tcp6": b"\0" + to_dns(b"S" * 20, 6, 6),
        "answer": b"\3\x10\0\0" + said[6:12] + said[29:],
        "answer-cut": b"\3\0\x80\0" + said[6:12] + said[29:],
    }


def _news() -> Mapping[str, bytes]:
    moved = news(GONE, "192.0.2.1") + news(NEW, "192.0.2.2")
    usable = news(NEW, "fd00::1", flags=TENTATIVE) + news(NEW, "fd00::1")
    return {
        "moved": b"\1" + moved,
        "given-back": b"\2" + news(GONE, "192.0.2.1") + news(NEW, "192.0.2.1"),
        "cut-off": b"\1" + moved[:-30],
        "usable": b"\3" + usable + news(NEW, "10.0.0.1", index=TUN),
    }


def _replays() -> Mapping[str, bytes]:
    """In a row, replayed, with a gap, beyond the window."""
    return {
        "in-a-row": bytes((2, 0, 0, 43, 2, 0, 0, 43, 0, 0, 50, 0)),
        "gap": bytes((1, 0, 4, 0, 0, 0, 2, 0, 0, 0, 2, 0)),
        "replayed": bytes((2, 0, 9, 9, 0, 0, 3, 0, 0, 0, 12, 0, 0, 0, 12, 0)),
        "leap": bytes((2, 0, 0, 255, 2, 32, 7, 9, 0, 31, 240, 0, 0, 31, 255, 0)),
    }


def _reports() -> dict[str, bytes]:
    """IGMP and MLD behind one byte, and messages of peers."""
    wanted = [record(kind, "239.1.2.3", "10.77.0.2") for kind in Kind]
    wanted6 = [record(kind, "ff05::5", "fd77::2") for kind in Kind]
    body, body6 = (bytes(2) + b"\0\6" + encoded(each) for each in (wanted, wanted6))
    flags = INTERESTS[9:]
    full, change = b"\7" + flags[1:], b"\6" + flags[1:]
    return {
        "igmp3": b"\0\x22" + body,
        "igmp2": b"\0\x16" + raw("239.1.2.3"),
        "igmp2-leave": b"\0\x17" + raw("239.1.2.3"),
        "mld2": b"\1\x8f" + body6,
        "mld1": b"\1\x83" + bytes(4) + raw("ff05::5"),
        "frame4": b"\2" + igmp3(*wanted),
        "frame6": b"\2" + mld2(*wanted6),
        "peer": b"\3" + b"".join(bytes((len(each),)) + each for each in (full, change, full)),
    }


def _icmp() -> dict[str, bytes]:
    me, peer, me6, peer6 = "10.77.0.1", "10.77.0.2", "fd77::1", "fd77::2"
    echo = b"\0\0\0\0\1\0\1hello"
    large, bulk = bytes(1400), tcp_frame(bytes(90), unit=40)
    return {
        "udp4": b"\0\x11" + b"\x13\x88\0\x09\0\x0d\0\0hello",
        "udp6": b"\1\x11" + b"\x13\x88\0\x09\0\x0d\0\0hello",
        "ping4": b"\0\1\x08" + echo,
        "ping6": b"\1\x3a\x80" + echo,
        "pong4": b"\0\1\0" + echo,
        "error4": b"\0\1\3\1\0\0" + bytes(4) + ip_packet(me, peer),
        "error6": b"\1\x3a\1\3\0\0" + bytes(4) + ip_packet(me6, peer6),
        "fragment6": b"\1\x2c\x11\0\0\1" + bytes(24),
        "options6": b"\1\x3c\x3a\0" + bytes(6) + b"\x80" + echo,
        "frame": b"\2" + PLAIN + ip_packet(me, "10.77.0.99", b"hello"),
        "frame-of-others": b"\2" + PLAIN + ip_packet(peer, "10.77.0.99", b"hello"),
        "too-big4": b"\3\5\0" + PLAIN + ip_packet(me, peer, large),
        "too-big6": b"\3\5\0" + PLAIN + ip_packet(me6, peer6, large),
        "segments": b"\3\0\x40" + bulk,
        "quoted4": b"\4\3\4\0\0\5\0" + ip_packet(me, peer, b"12345678"),
        "quoted6": b"\5\2\0\0\0\5\0" + ip_packet(me6, peer6, b"12345678"),
        "quoted-underlay": b"\4\3\4\0\0\5\0" + ip_packet("192.0.2.1", peer),
        "link-control6": b"\5\x84\0" + bytes(20),
        "redirect": b"\4\5\1\0\0\0\0" + ip_packet(me, peer),
    }


def _gossip() -> dict[str, bytes]:
    """0 id name started addresses dialed: a link; 2 link linked lost kind: gossip; and so on."""
    up = [bytes((0, node, 1, 1, 2 << node % 2, 1)) for node in (0, 1, 4)]
    taken = up[0][:-1] + b"\0"  # not dialed: of two links both are held until the other end chooses
    flush = b"\0"
    return {
        "linked": b"".join(up),
        "told": up[0] + b"\2\0\xf0\0\1" + flush,
        "changed": up[0] + b"\2\0\xf0\0\1" + flush + b"\2\0\0\x30\0" + flush,
        "introduced": up[0] + b"\2\0\xf0\0\1" + flush + b"\5\0\xf0" + bytes(12) + flush,
        "asked-again": up[0]
        + up[1]
        + b"\2\0\x20\0\1"
        + flush
        + b"\2\1\x20\0\1"
        + flush
        + b"\2\0\0\x20\0"
        + flush,
        "told-late": 2 * taken + b"\2\1\xf0\0\1" + flush + b"\2\0\x30\0\x0d" + flush,
        "asked": up[0] + up[1] + b"\4\0\xff\3" + flush,
        "bye": up[0] + up[1] + b"\7\0\0" + flush + b"\7\1\2" + flush,
        "restarted": up[0] + b"\0\4\1\2\2\1" + b"\0\5\1\3\2\1",
        "contested": up[0] + b"\0\1\2\0\2\1" + b"\x08\0\1" + flush + b"\x09\0" + flush,
        "second-link": up[0] + up[0] + b"\x08\0\0" + flush,
        "crowd": up[0]
        + b"\2\0\0\0\x0f"
        + flush
        + b"\2\0\0\0\x0e"
        + flush
        + b"\2\0\0\0\x0f"
        + flush,
    }

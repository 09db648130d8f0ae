"""Encoding and decoding of messages, and the refusal of malformed ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tunmesh.errors import PeerError
from tunmesh.wire import messages, sizes, streams
from tunmesh.wire.floating import FloatingClaim
from tunmesh.wire.gossip import (
    Gossip,
    Refusal,
    decode_inquiry,
    decode_introduction,
    encode_inquiry,
    encode_introduction,
)
from tunmesh.wire.interests import Interest, Interests, parts
from tunmesh.wire.messages import (
    BYE_REASONS,
    decode_bye,
    decode_offer,
    decode_token,
    encode_bye,
    encode_offer,
)
from tunmesh.wire.proofs import (
    Challenge,
    Claim,
    Hello,
    Proof,
    decode_shown,
    decode_update,
    encode_shown,
    encode_update,
)
from tunmesh.wire.records import NodeRecord, SignedRecord, split_url

KEY_ID, NONCE, MAC = b"key id 1", bytes(range(32)), bytes(range(32, 64))
PUBLIC_KEY, SIGNATURE = bytes(range(64, 96)), bytes(range(96, 160))
RECORD = NodeRecord(
    id="00112233445566778899aabbccddeeff",
    name="alpha",
    started=1795644308123,
    url="https://alpha.example:4567",
    addresses=(ip_interface("10.77.1.2/24"), ip_interface("fd77::2/64")),
    version="0.1.0",
)
RECORD_BYTES = (
    b'{"id":"00112233445566778899aabbccddeeff","name":"alpha","started":1795644308123,'
    b'"url":"https://alpha.example:4567","addresses":["10.77.1.2/24","fd77::2/64"],'
    b'"version":"0.1.0"}'
)
SIGNED = SignedRecord(PUBLIC_KEY, SIGNATURE, RECORD_BYTES)
SIGNED_BYTES = PUBLIC_KEY + SIGNATURE + RECORD_BYTES
SEALED = bytes(range(64 + 1 + 32 + 64 + 16 + 1))  # nothing parses it
OTHER_ID = "ffeeddccbbaa99887766554433221100"
HELLO = b"H\x01\x01\x01" + KEY_ID + NONCE
CHALLENGE = b"C\x01" + KEY_ID + NONCE
GOSSIP = b"G\0\0\0\0\0\0\1\2\x00\x01" + bytes.fromhex(RECORD.id + OTHER_ID)
INQUIRY = b"W" + bytes.fromhex(RECORD.id + OTHER_ID)
INTRODUCTION = b"N" + len(SIGNED_BYTES).to_bytes(2, "big") + SIGNED_BYTES
UPDATE = b"U\1" + SIGNED_BYTES
INTERESTS = b"M\0\0\0\0\0\0\0\x09\x07\x84\0\xef\1\2\3\x06\1" + bytes.fromhex(
    "ff020000000000000000000000000005" + "fe800000000000000000000000000001"
)
REFUSAL = b'R{"addresses":["10.77.1.2"],"holder":"beta"}'

# Every kind of payload that has a decoder, by that decoder.
PAYLOADS: dict[Callable[[bytes], object], bytes] = {
    Hello.decode: HELLO,
    Challenge.decode: CHALLENGE,
    Proof.decode: b"P" + MAC + SEALED,
    Claim.decode: SIGNATURE + b"\1" + SIGNED_BYTES,
    decode_shown: b"\1" + SIGNED_BYTES,
    NodeRecord.decode: RECORD_BYTES,
    Gossip.decode: GOSSIP,
    decode_inquiry: INQUIRY,
    decode_introduction: INTRODUCTION,
    decode_update: UPDATE,
    Refusal.decode: REFUSAL,
    Interests.decode: INTERESTS,
    decode_offer: b"O\0\0\0\1",
    streams.decode: b"Sc\0\0\0\3" + bytes(6) + b"\4\0",
    decode_bye: b"Bleaving",
    decode_token: b"itokentok",
}

# Invalid values for any field that is not a boolean or a list.
NEVER: tuple[object, ...] = (None, True, 1.5, float("nan"), float("inf"), [], {}, ["x"])
WRONG_FIELDS: dict[str, tuple[object, ...]] = {
    "id": (*NEVER, 1, "", "0" * 31, "0" * 33, "A" * 32, "g" * 32, "0" * 32 + "\n", "٠" * 32),
    "name": (*NEVER, 1, "", "two words", "tab\t", "line\n", "\x1b[2J", "\x7f", "ä", "\ud800"),
    "started": (*NEVER, "1", -1, 1 << 63, 1 << 64, 10**4000),
    "url": (*NEVER, 1, "", "alpha", "http://alpha:4567", "https://alpha", "https://:4567"),
    "addresses": (None, True, 1, "10.77.1.2/24", {}, {"10.77.1.2/24": 1}, [], [None], [1], [[]]),
}
WRONG_OPTIONS: dict[str, tuple[object, ...]] = {
    "revision": (*NEVER, "1", -1, 1 << 31),
    "automatic": (None, True, 4, "4", {}, [5], [6, 4], [4, 4], [True], ["4"], [4.0], [4, 6, 8]),
    "groups": (None, True, 1, "web", {}, [None], [1], [""], ["Web"], ["-web"], ["web-"], ["a.b"]),
    "version": (*NEVER, 1, "", "0.1 beta", "0.1\0", "0.1ä"),
    "udp": (None, 0, 1, "true", [], {}),
    "mtu": (*NEVER, "1500", 0, 575, 65_522),
}
NO_LISTS: tuple[object, ...] = (None, True, 1, "", {}, [None], [1], ["x"], [[]], [{}])
WRONG_ADDRESSES = (
    "",
    "alpha",
    "10.77.1",
    "10.77.1.256/24",
    "10.77.1.2/33",
    "10.77.1.2/-1",
    "10.77.1.2/" + "9" * 5000,
    "10.77.1.2/24/24",
    " 10.77.1.2/24",
    "fd77::2/129",
    "fd77::2::/64",
    "fe80::1%eth0/64",
)
TOO_LONG: dict[str, object] = {
    "name": "n" * 65,
    "url": "https://" + "h" * 256 + ":4567",
    "addresses": [f"10.77.1.{host}/24" for host in range(9)],
    "version": "1" * 65,
    "networks": ["10.77.0.0/16"] * 9,
    "groups": ["web"] * 17,
}
LONGEST: dict[str, object] = {
    "name": "n" * 64,
    "url": "https://" + "h" * 255 + ":4567",
    "addresses": [f"10.77.1.{host}/24" for host in range(8)],
    "version": "1" * 64,
    "started": (1 << 63) - 1,
}


def outcome(decode: Callable[[bytes], object], payload: bytes) -> object:
    """The decoded payload, or the reason of its refusal. Any other exception is a bug."""
    try:
        return decode(payload)
    except PeerError as error:
        return error.reason


def record_with(**fields: object) -> bytes:
    """The record's JSON with some fields replaced."""
    return json.dumps({**json.loads(RECORD_BYTES), **fields}).encode()


def record_without(field: str) -> bytes:
    fields = json.loads(RECORD_BYTES)
    del fields[field]
    return json.dumps(fields).encode()


# --- random values ---

WORDS = st.text(alphabet=[chr(code) for code in range(0x21, 0x7F)], min_size=1, max_size=64)
NODE_IDS = st.binary(min_size=16, max_size=16).map(bytes.hex)
HOSTS = st.sampled_from(["alpha", "alpha.example", "192.0.2.1", "[2001:db8::1]"])
URLS = st.builds("https://{}:{}".format, HOSTS, st.integers(1, 65535))


def interface(address: IPv4Address | IPv6Address) -> st.SearchStrategy[Any]:
    return st.integers(0, address.max_prefixlen).map(lambda size: ip_interface((address, size)))


INTERFACES: st.SearchStrategy[IPv4Interface | IPv6Interface] = st.ip_addresses().flatmap(interface)
RECORDS = st.builds(
    NodeRecord,
    id=NODE_IDS,
    name=WORDS,
    started=st.integers(0, (1 << 63) - 1),
    url=URLS,
    addresses=st.lists(INTERFACES, min_size=1, max_size=8).map(tuple),
    version=WORDS,
    settled=st.booleans(),
    networks=st.lists(INTERFACES.map(lambda interface: interface.network), max_size=8).map(tuple),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


class Wire(unittest.SynchronousTestCase):
    """The exact bytes of every message, in both directions."""

    def is_wire(self, value: object, encoded: bytes, expected: bytes, decoded: object) -> None:
        self.assertEqual(encoded, expected)
        self.assertEqual(decoded, value)

    def test_tags(self) -> None:
        """The first byte is the tag of the message."""
        handshake = (messages.HELLO, messages.CHALLENGE, messages.PROOF)
        self.assertEqual(bytes(handshake), b"HCP")
        alive = (messages.DATA, messages.PING, messages.PONG)
        self.assertEqual(bytes(alive), b"Dio")
        about_nodes = (messages.GOSSIP, messages.UPDATE, messages.REFUSAL, messages.BYE)
        self.assertEqual(bytes(about_nodes), b"GURB")

    def test_bounds(self) -> None:
        """A frame holds 6 KiB before authentication, and the largest IP packet or 1 MiB after
        it."""
        self.assertEqual(sizes.MAX_HANDSHAKE_FRAME, 6144)
        self.assertEqual(sizes.MAX_DATA_FRAME, 1 + 10 + 65535)
        self.assertEqual(sizes.MAX_FRAME, 1024 * 1024)

    def test_hello(self) -> None:
        """A hello lists protocol versions and key ids, each with its count, and a nonce."""
        hello = Hello((1,), (KEY_ID,), NONCE)
        self.is_wire(hello, hello.encode(), HELLO, Hello.decode(HELLO))
        hello = Hello((1, 7), (KEY_ID, b"key id 2"), NONCE)
        payload = b"H\x02\x01\x07\x02key id 1key id 2" + NONCE
        self.is_wire(hello, hello.encode(), payload, Hello.decode(payload))

    def test_challenge(self) -> None:
        """A challenge has the chosen version and key id, and a nonce."""
        challenge = Challenge(1, KEY_ID, NONCE)
        decoded = Challenge.decode(CHALLENGE)
        self.is_wire(challenge, challenge.encode(), CHALLENGE, decoded)

    def test_proof(self) -> None:
        """A proof is a MAC and sealed bytes, which are not parsed here."""
        proof, payload = Proof(MAC, SEALED), b"P" + MAC + SEALED
        self.is_wire(proof, proof.encode(), payload, Proof.decode(payload))

    def test_claim(self) -> None:
        """A sealed claim is a signature and the signed data, which is not parsed here."""
        claim = Claim(SIGNATURE, b"\xff{")
        payload = SIGNATURE + b"\xff{"
        self.is_wire(claim, claim.encode(), payload, Claim.decode(payload))

    def test_record(self) -> None:
        """A record is a JSON object of six fields."""
        self.is_wire(RECORD, RECORD.encode(), RECORD_BYTES, NodeRecord.decode(RECORD_BYTES))
        self.assertEqual(RECORD.host_port, ("alpha.example", 4567))

    def test_gossip(self) -> None:
        """Gossip has the ids of linked and of lost nodes, and is a full sync or an update."""
        gossip = Gossip(0x102, (RECORD.id,), (OTHER_ID,))
        self.is_wire(gossip, gossip.encode(), GOSSIP, Gossip.decode(GOSSIP))
        self.assertTrue(gossip.full)
        empty, payload = Gossip(0), b"G" + bytes(10)
        self.assertFalse(empty.full)
        self.is_wire(empty, empty.encode(), payload, Gossip.decode(payload))

    def test_inquiry(self) -> None:
        """A node asks about unknown ids, and gets the records of those nodes."""
        ids, introduced = (RECORD.id, OTHER_ID), (SIGNED,)
        self.is_wire(ids, encode_inquiry(ids), INQUIRY, decode_inquiry(INQUIRY))
        wire = encode_introduction(introduced)
        self.is_wire(introduced, wire, INTRODUCTION, decode_introduction(INTRODUCTION))
        odd = SignedRecord(PUBLIC_KEY, SIGNATURE, b"\xff{")
        self.assertEqual(decode_introduction(encode_introduction([SIGNED, odd])), (SIGNED, odd))
        self.assertEqual(outcome(decode_introduction, b"N"), "malformed")

    def test_longest_introduction(self) -> None:
        """As many records as an introduction may have fit into a frame, whatever their sizes."""
        longest = SignedRecord(PUBLIC_KEY, SIGNATURE, bytes(sizes.MAX_RECORD))
        payload = encode_introduction([longest] * sizes.MAX_INTRODUCED)
        self.assertLessEqual(len(payload), sizes.MAX_FRAME)
        self.assertEqual(len(decode_introduction(payload)), sizes.MAX_INTRODUCED)
        more = encode_introduction([SIGNED] * (sizes.MAX_INTRODUCED + 1))
        self.assertEqual(outcome(decode_introduction, more), "malformed")
        longer = replace(longest, record=bytes(sizes.MAX_RECORD + 1))
        self.assertEqual(outcome(decode_introduction, encode_introduction([longer])), "malformed")

    def test_update(self) -> None:
        """An update is what the sender would show in a handshake now, and no longer than that."""
        shown = encode_shown(SIGNED, settled=True)
        self.is_wire(shown, encode_update(shown), UPDATE, UPDATE[1:])
        self.assertEqual(decode_update(UPDATE), (SIGNED, True))
        self.assertEqual(outcome(decode_update, UPDATE[:1] + b"\2" + UPDATE[2:]), "malformed")
        longest = UPDATE[:2] + bytes(sizes.MAX_SIGNED)
        self.assertEqual(len(decode_update(longest)[0].record), sizes.MAX_RECORD)
        self.assertEqual(outcome(decode_update, longest + b"\0"), "malformed")

    def test_refusal(self) -> None:
        """A refusal has addresses and the name of their holder, or neither."""
        refusal = Refusal(("10.77.1.2",), "beta")
        self.is_wire(refusal, refusal.encode(), REFUSAL, Refusal.decode(REFUSAL))
        none, payload = Refusal((), ""), b'R{"addresses":[],"holder":""}'
        self.is_wire(none, none.encode(), payload, Refusal.decode(payload))

    def test_offer(self) -> None:
        """An offer of UDP has an index, which is not 0."""
        for index, payload in ((1, b"O\0\0\0\1"), (0xFEDCBA98, b"O\xfe\xdc\xba\x98")):
            self.is_wire(index, encode_offer(index), payload, decode_offer(payload))
        for wrong in (b"O", b"O\0\0\0\0", b"O\0\0\1", b"O\0\0\0\0\1"):
            self.assertEqual(outcome(decode_offer, wrong), "malformed")

    def test_bye(self) -> None:
        """A bye has one of five reasons."""
        expected = {"leaving", "replaced", "silent", "self", "crowded", "revoked"}
        self.assertEqual(set(BYE_REASONS), expected)
        for reason in expected:
            payload = b"B" + reason.encode()
            self.is_wire(reason, encode_bye(reason), payload, decode_bye(payload))

    def test_token(self) -> None:
        """A ping has a token of eight bytes, and its pong has the same."""
        self.assertEqual(decode_token(b"i\x00\x01\x02\x03\x04\x05\x06\x07"), bytes(range(8)))
        self.assertEqual(decode_token(b"o\xff\xff\xff\xff\xff\xff\xff\xff"), b"\xff" * 8)


class RoundTrips(unittest.SynchronousTestCase):
    """Decoding returns what was encoded."""

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(st.integers(0, 255), min_size=1, max_size=16).map(tuple),
        st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=16).map(tuple),
        st.binary(min_size=32, max_size=32),
    )
    def test_hello(self, versions: tuple[int], key_ids: tuple[bytes], nonce: bytes) -> None:
        """Any hello of up to sixteen versions and keys."""
        hello = Hello(versions, key_ids, nonce)
        self.assertEqual(Hello.decode(hello.encode()), hello)

    @settings(max_examples=150, deadline=None)
    @given(RECORDS)
    def test_record(self, record: NodeRecord) -> None:
        """Any record, which also fits into the proof in a handshake frame."""
        encoded = record.encode()
        self.assertEqual(NodeRecord.decode(encoded), replace(record, settled=False))
        shown = encode_shown(SignedRecord(PUBLIC_KEY, SIGNATURE, encoded), record.settled)
        claim = Claim(SIGNATURE, shown)
        self.assertEqual(Claim.decode(claim.encode()), claim)
        proof = Proof(MAC, claim.encode() + bytes(sizes.SEAL_SIZE))
        self.assertLessEqual(len(proof.encode()), sizes.MAX_HANDSHAKE_FRAME)

    @settings(max_examples=50, deadline=None)
    @given(
        st.integers(0, 2**64 - 1), st.lists(NODE_IDS, max_size=3), st.lists(NODE_IDS, max_size=3)
    )
    def test_gossip(self, generation: int, linked: list[str], lost: list[str]) -> None:
        """Any gossip."""
        gossip = Gossip(generation, tuple(linked), tuple(lost))
        self.assertEqual(Gossip.decode(gossip.encode()), gossip)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(RECORDS, min_size=1, max_size=3))
    def test_introduction(self, records: list[NodeRecord]) -> None:
        """Any introduction, and the inquiry before it."""
        signed = tuple(SignedRecord(PUBLIC_KEY, SIGNATURE, r.encode()) for r in records)
        self.assertEqual(decode_introduction(encode_introduction(signed)), signed)
        ids = tuple(record.id for record in records)
        self.assertEqual(decode_inquiry(encode_inquiry(ids)), ids)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.ip_addresses().map(str), max_size=8).map(tuple), WORDS | st.just(""))
    def test_refusal(self, addresses: tuple[str, ...], holder: str) -> None:
        """Any refusal."""
        refusal = Refusal(addresses, holder)
        self.assertEqual(Refusal.decode(refusal.encode()), refusal)


class MulticastInterests(unittest.SynchronousTestCase):
    """Which groups a node wants packets of."""

    def test_literal(self) -> None:
        """A whole message: all of an IPv4 group, one source of an IPv6 group."""
        expected = Interests(
            9,
            True,
            frozenset({4, 6}),
            (
                Interest(IPv4Address("239.1.2.3").packed),
                Interest(
                    IPv6Address("ff02::5").packed,
                    False,
                    frozenset({IPv6Address("fe80::1").packed}),
                ),
            ),
        )
        self.assertEqual(Interests.decode(INTERESTS), expected)
        self.assertEqual(expected.encode(), INTERESTS)

    def test_parts(self) -> None:
        """However many groups there are, each message is of a size that is accepted, and all are in
        one of them."""
        sources = frozenset(bytes(15) + bytes((n,)) for n in range(sizes.MAX_INTEREST_SOURCES))
        groups = [
            Interest(b"\xff\x05" + n.to_bytes(14), bool(n % 2), sources if n % 3 else frozenset())
            for n in range(300)
        ]
        found: list[Interest] = []
        for part in parts(groups):
            message = Interests(1, False, frozenset({6}), part).encode()
            self.assertLessEqual(len(message), sizes.MAX_INTERESTS)
            found += Interests.decode(message).groups
        self.assertEqual(found, groups)
        self.assertEqual(list(parts([])), [()])

    def test_refused(self) -> None:
        """No group, a group of no version, too many sources, too large."""
        head = INTERESTS[:10]
        many = bytes((4, 65)) + b"\xef\1\1\1" + bytes(4 * 65)
        for entry in (b"\4\0\x0a\0\0\1", b"\6\0" + bytes(16), b"\5\0\xef\1\1\1", many):
            self.assertEqual(outcome(Interests.decode, head + entry), "malformed")
        whole = head + (b"\x84\0\xef\1\1\1" * 3000)[: sizes.MAX_INTERESTS]
        self.assertEqual(outcome(Interests.decode, whole), "malformed")


class Broken(unittest.SynchronousTestCase):
    """Malformed messages always raise the peer's error, never another exception."""

    def refuses(self, decode: Callable[[bytes], object], *payloads: bytes) -> None:
        for payload in payloads:
            self.assertEqual(outcome(decode, payload), "malformed", (decode.__name__, payload))

    def test_truncated(self) -> None:
        """A truncated message is malformed; a list of ids may end after any of them."""
        shortest: dict[object, int] = {
            Proof.decode: 1 + 32 + len(SEALED),
            Claim.decode: 64 + 1,
            decode_shown: 1 + 32 + 64 + 1,
            decode_update: 1 + 1 + 32 + 64 + 1,
            Gossip.decode: 20,
            Interests.decode: 10,
            decode_inquiry: 0,
        }
        for decode, payload in PAYLOADS.items():
            sizes = range(shortest.get(decode, len(payload)))
            self.refuses(decode, *(payload[:size] for size in sizes))

    def test_trailing(self) -> None:
        """A message followed by other bytes is malformed; JSON may be followed by white space."""
        for decode, payload in PAYLOADS.items():
            if decode in (Proof.decode, Claim.decode, decode_shown, decode_update):
                continue
            for byte in range(256):
                if payload.endswith((b"}", b"]")) and byte in b" \t\r\n":
                    continue
                self.refuses(decode, payload + bytes((byte,)))

    def test_counts(self) -> None:
        """A hello offers between one and sixteen versions and keys."""
        sixteen = Hello(tuple(range(16)), (KEY_ID,) * 16, NONCE)
        self.assertEqual(Hello.decode(sixteen.encode()), sixteen)
        for versions, keys in ((0, 1), (1, 0), (17, 1), (1, 17), (255, 1), (1, 255)):
            hello = Hello((1,) * versions, (KEY_ID,) * keys, NONCE)
            self.refuses(Hello.decode, hello.encode())

    def test_wrong_counts(self) -> None:
        """A count that does not match the bytes after it is malformed."""
        for position in (1, 3):
            for count in set(range(256)) - {1}:
                payload = bytearray(HELLO)
                payload[position] = count
                self.refuses(Hello.decode, bytes(payload))

    def test_unknown_bye_reason(self) -> None:
        """A bye with an unknown reason is malformed."""
        self.refuses(decode_bye, b"B", b"BLEAVING", b"Bleaving ", b"Bnothing", b"B\xff")

    def test_not_json(self) -> None:
        """JSON that is invalid, too deep, has too long a number or is not text is malformed."""
        for broken in (
            b"",
            b"{",
            b"{}}",
            b"{'id':1}",
            b"\xff\xfe",
            b'{"id":"\xff"}',
            b"[" * 100_000,
            b'{"x":' * 100_000,
            b"9" * 5000,
        ):
            self.refuses(NodeRecord.decode, broken)
            self.refuses(Refusal.decode, b"R" + broken)

    def test_not_an_object(self) -> None:
        """JSON that is not an object is malformed, for every message that is an object."""
        for other in (b"null", b"true", b"0", b'""', b"[{}]", b"{}", b"NaN", b'"id"'):
            self.refuses(NodeRecord.decode, other)
            self.refuses(Refusal.decode, b"R" + other)

    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=100))
    def test_garbage(self, garbage: bytes) -> None:
        """Every decoder accepts random bytes as a message or refuses them as malformed."""
        for decode, payload in PAYLOADS.items():
            for data in (garbage, payload[:1] + garbage):
                result = outcome(decode, data)
                self.assertTrue(result == "malformed" or not isinstance(result, str), result)

    @settings(max_examples=200, deadline=None)
    @given(JSON)
    def test_random_json(self, value: object) -> None:
        """Random JSON is malformed as a record and as a refusal."""
        data = json.dumps(value).encode()
        self.refuses(NodeRecord.decode, data)
        self.refuses(Refusal.decode, b"R" + data)


class Records(unittest.SynchronousTestCase):
    """The fields of a node record."""

    def refuses(self, *records: bytes) -> None:
        for data in records:
            self.assertEqual(outcome(NodeRecord.decode, data), "malformed", data[:200])

    def accepts(self, data: bytes) -> NodeRecord:
        record = outcome(NodeRecord.decode, data)
        assert isinstance(record, NodeRecord), (record, data)
        return record

    def test_missing(self) -> None:
        """No field may be missing."""
        self.refuses(*map(record_without, WRONG_FIELDS))

    def test_wrong(self) -> None:
        """A field with the wrong type or an invalid value is malformed."""
        for field, values in (WRONG_FIELDS | WRONG_OPTIONS).items():
            self.refuses(*(record_with(**{field: value}) for value in values))

    def test_wrong_addresses(self) -> None:
        """Addresses must be valid, and must not have a scope."""
        for address in WRONG_ADDRESSES:
            self.refuses(record_with(addresses=[address]))
            self.refuses(record_with(addresses=["10.77.1.2/24", address]))

    def test_automatic(self) -> None:
        """Of an IP version that a node chooses its address of itself it has one address, or none;
        else it has at least one address, and as many as it likes."""
        two = ["10.77.1.2/24", "10.77.1.3/24"]
        for addresses in ([], ["10.77.1.2/24"], ["10.77.1.2/24", "fd77::1/64", "fd77::2/64"]):
            record = self.accepts(record_with(addresses=addresses, automatic=[4]))
            self.assertEqual((record.automatic, len(record.addresses)), ((4,), len(addresses)))
        self.assertEqual(self.accepts(record_with(addresses=[], automatic=[4, 6])).addresses, ())
        self.assertEqual(len(self.accepts(record_with(addresses=two, automatic=[6])).addresses), 2)
        self.refuses(record_with(addresses=two, automatic=[4]))
        self.refuses(record_with(addresses=two, automatic=[4, 6]))

    def test_revisions(self) -> None:
        """Of revision to revision a record may change its URL, its groups, its MTU, its addresses
        and its routes: nothing else, and not without a higher number."""
        static, own = ip_interface("10.77.1.2/24"), ip_interface("fd77::2/64")
        record = replace(RECORD, addresses=(static,), automatic=(6,), revision=3)
        later = replace(record, revision=7)
        for may in (
            later,
            replace(later, url="https://elsewhere:1", groups=("web",), settled=True),
            replace(later, mtu=9000),
            replace(later, routes=(ip_network("192.168.5.0/24"),)),
            replace(later, addresses=(static, own)),
            replace(later, addresses=(ip_interface("10.77.1.3/24"), own)),
            replace(later, floating=(FloatingClaim(static.ip, 1, True),)),
        ):
            self.assertTrue(record.may_become(may))
            self.assertFalse(may.may_become(record))
            self.assertFalse(record.may_become(replace(may, revision=3)))
        for must_not in (
            replace(later, id=OTHER_ID),
            replace(later, name="beta"),
            replace(later, started=1),
            replace(later, version="2"),
            replace(later, automatic=(4, 6)),
            replace(later, networks=(ip_network("10.77.0.0/16"),)),
        ):
            self.assertFalse(record.may_become(must_not))

    def test_mtu(self) -> None:
        """The MTU of a node is said if it is not the usual one, and so read."""
        self.assertNotIn(b"mtu", RECORD.encode())
        self.assertEqual(self.accepts(RECORD.encode()).mtu, 1500)
        for mtu in (576, 1280, 9000, 65_521):
            record = replace(RECORD, mtu=mtu)
            self.assertEqual(self.accepts(record.encode()), record)

    def test_too_long(self) -> None:
        """Every field has a maximum length."""
        self.assertEqual(self.accepts(record_with(**LONGEST)).name, LONGEST["name"])
        for field, value in TOO_LONG.items():
            self.refuses(record_with(**{field: value}))

    def test_floating(self) -> None:
        """Claims to floating addresses are written as they are read; anything else, an address
        with a prefix, or one that is claimed twice, is malformed."""
        good = [["10.77.0.100", 3, True], ["fd77::100", sizes.MAX_NUMBER, False]]
        record = self.accepts(record_with(floating=good))
        self.assertEqual(NodeRecord.decode(record.encode()), record)
        self.assertEqual(record.floating[0], (ip_address("10.77.0.100"), 3, True))
        self.assertEqual(
            record.held, {*(each.ip for each in record.addresses), ip_address("10.77.0.100")}
        )
        for wrong in (
            "10.77.0.100",
            [["10.77.0.100", 3]],
            [["10.77.0.100/24", 3, True]],
            [["10.77.0.256", 3, True]],
            [["fe80::1%eth0", 3, True]],
            [["10.77.0.100", -1, True]],
            [["10.77.0.100", sizes.MAX_NUMBER + 1, True]],
            [["10.77.0.100", 3, 1]],
            [["10.77.0.100", 3, True], ["10.77.0.100", 4, False]],
            [[f"10.77.0.{host}", 1, False] for host in range(sizes.MAX_FLOATING + 1)],
        ):
            self.refuses(record_with(floating=wrong))

    def test_longest_fits_the_handshake(self) -> None:
        """The longest possible record fits into a proof."""
        full = [f"{'fd77:' * 7}{host:04x}/128" for host in range(0xF000, 0xF008)]
        networks = [f"{'fd77:' * 7}{host:04x}/128" for host in range(0xE000, 0xE008)]
        groups = [f"{'g' * 61}{number:02}" for number in range(16)]
        routes = [f"{'fd5e:' * 7}{host:04x}/128" for host in range(0xC000, 0xC020)]
        longest = {**LONGEST, "addresses": full, "networks": networks, "groups": groups}
        longest |= {"routes": routes}
        longest |= {"revision": sizes.MAX_REVISION, "automatic": [4], "udp": True, "mtu": 65_521}
        floating = [f"{'fd77:' * 7}{host:04x}" for host in range(0xD000, 0xD010)]
        longest["floating"] = [[each, sizes.MAX_NUMBER, False] for each in floating]
        record = self.accepts(record_with(**longest))
        self.assertLessEqual(len(record.encode()), sizes.MAX_RECORD)

    def test_raw_bytes(self) -> None:
        """A name in UTF-8, or with a NUL or a line end in it, is malformed."""
        for name in ("älpha".encode(), b"al\x00pha", b"al\npha", b"al\\npha", b"\\ud83d"):
            self.refuses(RECORD_BYTES.replace(b"alpha", name, 1))

    def test_numbers(self) -> None:
        """A start time is an integer, written as in JSON."""
        for number in (b"1e3", b"1.0", b"NaN", b"-Infinity", b"01", b"0x1", b"1_0", b"9" * 5000):
            self.refuses(RECORD_BYTES.replace(b"1795644308123", number))

    def test_settled(self) -> None:
        """`settled` is not part of the record, which is signed once: it is the byte before it in
        the handshake."""
        self.assertEqual(replace(RECORD, settled=True).encode(), RECORD_BYTES)
        self.assertEqual(self.accepts(record_with(settled=True)), RECORD)
        for settled in (False, True):
            shown = bytes((settled,)) + SIGNED_BYTES
            self.assertEqual((encode_shown(SIGNED, settled)), shown)
            self.assertEqual(decode_shown(shown), (SIGNED, settled))
        for wrong in (b"", b"\2" + SIGNED_BYTES, b"\xff" + SIGNED_BYTES, b"\1"):
            self.assertEqual(outcome(decode_shown, wrong), "malformed")

    def test_networks(self) -> None:
        """A record has up to eight networks from the config, or none."""
        said = RECORD_BYTES[:-1] + b',"networks":["10.77.0.0/16","fd77::/48"]}'
        networks = (ip_network("10.77.0.0/16"), ip_network("fd77::/48"))
        record = replace(RECORD, networks=networks)
        self.assertEqual((record.encode(), self.accepts(said)), (said, record))
        self.assertEqual(self.accepts(record_with(networks=[])), RECORD)
        wrong: tuple[object, ...] = (
            *(None, 1, "10.77.0.0/16", {}, [None], [1], [""], ["10.77.0.1/16"], ["10.77.0.0/33"]),
            *(["fe80::%eth0/64"], ["fd77::/129"], ["10.77.0.0/16 "], [[]]),
            [f"10.{number}.0.0/16" for number in range(9)],
        )
        for value in wrong:
            self.refuses(record_with(networks=value))

    def test_udp(self) -> None:
        """A record says that its node understands offers of UDP, or nothing about it."""
        said = RECORD_BYTES[:-1] + b',"udp":true}'
        record = replace(RECORD, udp=True)
        self.assertEqual((record.encode(), self.accepts(said)), (said, record))
        self.assertEqual(self.accepts(record_with(udp=False)), RECORD)

    def test_duplicate_keys(self) -> None:
        """If a field occurs twice, the last one counts and is validated."""
        twice = RECORD_BYTES[:-1] + b',"name":"beta"}'
        self.assertEqual(self.accepts(twice).name, "beta")
        self.refuses(RECORD_BYTES[:-1] + b',"name":"two words"}')

    def test_unknown_fields(self) -> None:
        """Unknown fields, which a later version may add, are ignored."""
        self.assertEqual(self.accepts(record_with(colour="red", more=[None])), RECORD)

    def test_deep_unknown_field(self) -> None:
        """An unknown field must still be valid JSON."""
        deep = b"[" * 100_000 + b"]" * 100_000
        self.refuses(RECORD_BYTES[:-1] + b',"more":' + deep + b"}")

    @settings(max_examples=200, deadline=None)
    @given(st.sampled_from(sorted(WRONG_FIELDS | WRONG_OPTIONS)), JSON)
    def test_any_value(self, field: str, value: object) -> None:
        """A record with any value in any field is malformed, or encodes to the same again."""
        result = outcome(NodeRecord.decode, record_with(**{field: value}))
        if isinstance(result, NodeRecord):
            self.assertEqual(NodeRecord.decode(result.encode()), result)
        else:
            self.assertEqual(result, "malformed")


class Urls(unittest.SynchronousTestCase):
    """The advertised URL of a node."""

    def test_right(self) -> None:
        """A host name or an address, with a port, is accepted."""
        self.assertEqual(split_url("https://alpha.example:4567"), ("alpha.example", 4567))
        self.assertEqual(split_url("https://192.0.2.1:1"), ("192.0.2.1", 1))
        self.assertEqual(split_url("https://[2001:db8::1]:65535"), ("2001:db8::1", 65535))

    def test_wrong(self) -> None:
        """Other schemes, a missing port or host, and strings that are no URLs are refused."""
        for url in (
            "",
            "alpha:4567",
            "http://alpha:4567",
            "https://alpha",
            "https://alpha:",
            "https://:4567",
            "https://alpha:65536",
            "https://alpha:-1",
            "https://alpha:port",
            "https://[2001:db8::1:4567",
            "https://2001:db8::1:4567:",
        ):
            self.assertRaises(ValueError, split_url, url)

    def test_more_than_host_and_port(self) -> None:
        """A port that cannot be dialed, and a user, path or query in the URL, are refused."""
        for url in (
            "https://alpha:0",
            "https://user:word@alpha:4567",
            "https://alpha:4567/path",
            "https://alpha:4567?query",
            "https://alpha:4567#part",
        ):
            self.assertRaises(ValueError, split_url, url)


class GossipAndRefusals(unittest.SynchronousTestCase):
    """Messages from an authentic peer are validated like any other."""

    def refuses(self, decode: Callable[[bytes], object], tag: bytes, **fields: object) -> None:
        payload = tag + json.dumps(fields).encode()
        self.assertEqual(outcome(decode, payload), "malformed", payload)

    def test_gossip(self) -> None:
        """Truncated gossip, or gossip with truncated ids, is malformed."""
        for length in range(len(GOSSIP)):
            if (length - 11) % 16 or length < 27:
                self.assertEqual(outcome(Gossip.decode, GOSSIP[:length]), "malformed", length)
        self.assertEqual(outcome(Gossip.decode, GOSSIP + b"x"), "malformed")
        self.assertEqual(outcome(decode_inquiry, INQUIRY + b"x"), "malformed")

    def test_refusal(self) -> None:
        """A refusal that lacks a part, or has one of the wrong type, is malformed."""
        self.refuses(Refusal.decode, b"R", addresses=[])
        self.refuses(Refusal.decode, b"R", holder="beta")
        for value in (*NO_LISTS, "10.77.1.2"):
            self.refuses(Refusal.decode, b"R", addresses=value, holder="beta")
        for value in (None, True, 1, [], {}, "two words", "n" * 65, "ä", "\n"):
            self.refuses(Refusal.decode, b"R", addresses=["10.77.1.2"], holder=value)

    def test_too_many_addresses(self) -> None:
        """A refusal of more than 8 addresses and 16 floating ones, which no node can claim, is
        malformed."""
        many = [f"10.77.1.{host}" for host in range(25)]
        self.refuses(Refusal.decode, b"R", addresses=many, holder="beta")
        payload = Refusal(tuple(many[:24]), "beta").encode()
        self.assertEqual(Refusal.decode(payload).addresses, tuple(many[:24]))

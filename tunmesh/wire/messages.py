"""The messages that two nodes exchange, as bytes.

Every payload begins with one byte, its tag. Before authentication only the first three occur, and
only once each way; they are fixed in size but for the node record, so that little is parsed for
strangers. `‖` is concatenation, all integers are unsigned.

    hello      H ‖ count ‖ protocol version (1 byte each) ‖ count ‖ key id (8 each) ‖ nonce (32)
    challenge  C ‖ protocol version (1) ‖ key id (8) ‖ nonce (32)
    proof      P ‖ mac (32) ‖ sealed claim: AES-256-GCM (RFC 5116) of the following, 16 bytes longer
    claim      signature (64) ‖ settled (1) ‖ signed record
    signed record: public key (32) ‖ signature (64) ‖ node record (JSON)

    data       D ‖ virtio_net_hdr (10) ‖ IP packet        see packets.virtio
    ping       i ‖ token (8)
    pong       o ‖ the token of the ping it answers (8)
    gossip     G ‖ telling (8) ‖ count (2) ‖ that many ids of linked nodes (16 each)
                 ‖ ids of lost ones (16 each)
    inquiry    W ‖ node ids (16 each)
    introduction N ‖ as often as there are: size (2) ‖ signed record of that size
    refusal    R ‖ {"addresses": [address, …], "holder": name}  (JSON)
    bye        B ‖ reason (a word from BYE_REASONS)

Decoding raises nothing but PeerError("malformed").
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from tunmesh.addresses import Interface, Network
from tunmesh.errors import PeerError

PROTOCOL = "tunmesh/1"
VERSION = 1

NONCE_SIZE = 32
KEY_ID_SIZE = 8
MAC_SIZE = 32
PUBLIC_KEY_SIZE = 32
SIGNATURE_SIZE = 64
SEAL_SIZE = 16  # the tag of AES-GCM
TOKEN_SIZE = 8
TELLING_SIZE = 8  # nobody tells everything 2⁶⁴ times
NODE_ID_SIZE = 16
MAX_OFFERS = 16  # protocol versions, and key ids, in one hello

MAX_HANDSHAKE_FRAME = 2048
MAX_DATA_FRAME = 65_546  # D ‖ virtio_net_hdr ‖ the largest IP packet
MAX_FRAME = 1 << 20
SIGNED_SIZE = PUBLIC_KEY_SIZE + SIGNATURE_SIZE  # of a signed record, without the record
# Of a proof, without the record. The byte is `settled`.
PROOF_SIZE = 1 + MAC_SIZE + SEAL_SIZE + SIGNATURE_SIZE + 1 + SIGNED_SIZE
MAX_RECORD = MAX_HANDSHAKE_FRAME - PROOF_SIZE
MAX_SIGNED = SIGNED_SIZE + MAX_RECORD
MAX_INTRODUCED = 256  # records in one introduction; it then fits a frame, however long they are
# Config checks by these and `split_url`, so that what it accepts a peer accepts.
MAX_NAME = 64  # HOST_NAME_MAX: a node that is given no name has its host's
MAX_HOST = 254  # of a DNS name, with a final dot (RFC 1035, section 2.3.4)
MAX_URL = len("https://") + MAX_HOST + len(":65535")
MAX_ADDRESSES = 8
MAX_NETWORKS = 8

HELLO, CHALLENGE, PROOF, DATA, PING, PONG = b"HCPDio"
GOSSIP, INQUIRY, INTRODUCTION, REFUSAL, BYE = b"GWNRB"

LEAVING = "leaving"  # the node ends: forget its addresses now
REPLACED = "replaced"  # another link between the same two nodes takes over
SILENT = "silent"  # nothing was heard for too long
SELF = "self"  # both ends are the same node
CROWDED = "crowded"  # too many nodes are linked from this source
REVOKED = "revoked"  # the secret that the link came up with is valid no more
BYE_REASONS = frozenset({LEAVING, REPLACED, SILENT, SELF, CROWDED, REVOKED})

_NODE_ID = re.compile(r"[0-9a-f]{32}")
_PRINTABLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """Who a node is. It holds for the life of its process, and is signed as a whole
    (auth.signing), but for `settled`, which is said in a handshake only."""

    id: str  # 16 bytes in hexadecimal, of its public key, new at every start: auth.node_key
    name: str  # the operator's name for it, printable ASCII
    started: int  # milliseconds since the epoch by its own clock
    url: str  # where it can be dialed: https://host:port
    addresses: tuple[Interface, ...]  # its overlay addresses, with the prefix of its local subnet
    version: str  # of the software
    # Whether it had its addresses to itself already when it said this: membership.seniority.
    settled: bool = False
    # The networks that it takes for the mesh's, as its config has them; empty: it does not say.
    networks: tuple[Network, ...] = ()

    @property
    def host_port(self) -> tuple[str, int]:
        return split_url(self.url)


@dataclass(frozen=True, slots=True)
class Hello:
    versions: tuple[int, ...]
    key_ids: tuple[bytes, ...]
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Challenge:
    version: int
    key_id: bytes
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Proof:
    mac: bytes
    sealed: bytes  # a claim that is not opened until the mac is found right


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """What a node says of itself, as it made it: to be passed on without a change."""

    public_key: bytes
    signature: bytes
    record: bytes  # not parsed until the signature is found right


@dataclass(frozen=True, slots=True)
class Claim:
    """Who a node says it is, on one connection."""

    signature: bytes
    shown: bytes  # settled ‖ signed record; not looked at until the signature is found right


@dataclass(frozen=True, slots=True)
class Gossip:
    """The ids of the nodes that the sender is linked to."""

    # 0: only what changed. Else exactly these are linked, and it is the how-manieth time that the
    # sender tells that, by whatever link and to whomever.
    telling: int
    linked: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def full(self) -> bool:
        return self.telling > 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Of the receiver's addresses, those that the sender does not route to it, and the name of the
    node that holds them ("" when they are outside the sender's network). Without addresses: all
    are routed (again)."""

    addresses: tuple[str, ...]
    holder: str


def malformed(text: str) -> PeerError:
    return PeerError("malformed", text)


@lru_cache(4096)
def split_url(url: str) -> tuple[str, int]:
    """(host, port) of an advertised URL. Raises ValueError unless it is https://host:port."""
    parts = urlsplit(url)
    bare = url == f"https://{parts.netloc}" and "@" not in parts.netloc
    if not bare or not parts.hostname or not parts.port:
        raise ValueError(f"is {url!r}, not https://host:port")
    return parts.hostname, parts.port


# --- before authentication ---


def encode_hello(hello: Hello) -> bytes:
    return b"".join(
        (
            b"H",
            bytes((len(hello.versions), *hello.versions)),
            bytes((len(hello.key_ids),)),
            *hello.key_ids,
            hello.nonce,
        )
    )


def decode_hello(payload: bytes) -> Hello:
    versions, rest = _counted(payload[1:], 1)
    key_ids, nonce = _counted(rest, KEY_ID_SIZE)
    if len(nonce) != NONCE_SIZE:
        raise malformed("a hello of a wrong size")
    return Hello(tuple(version[0] for version in versions), tuple(key_ids), nonce)


def _counted(data: bytes, size: int) -> tuple[list[bytes], bytes]:
    """A list of `size`-byte items behind its one-byte count, and the rest."""
    count = data[0] if data else 0
    end = 1 + count * size
    if not 1 <= count <= MAX_OFFERS or len(data) < end:
        raise malformed("a hello of a wrong size")
    return [data[start : start + size] for start in range(1, end, size)], data[end:]


def encode_challenge(challenge: Challenge) -> bytes:
    return b"C" + bytes((challenge.version,)) + challenge.key_id + challenge.nonce


def decode_challenge(payload: bytes) -> Challenge:
    if len(payload) != 2 + KEY_ID_SIZE + NONCE_SIZE:
        raise malformed("a challenge of a wrong size")
    return Challenge(payload[1], payload[2 : 2 + KEY_ID_SIZE], payload[2 + KEY_ID_SIZE :])


def encode_proof(proof: Proof) -> bytes:
    return b"P" + proof.mac + proof.sealed


def decode_proof(payload: bytes) -> Proof:
    if len(payload) <= PROOF_SIZE:
        raise malformed("a proof of a wrong size")
    return Proof(payload[1 : 1 + MAC_SIZE], payload[1 + MAC_SIZE :])


def encode_claim(claim: Claim) -> bytes:
    return claim.signature + claim.shown


def decode_claim(opened: bytes) -> Claim:
    if len(opened) <= SIGNATURE_SIZE:
        raise malformed("a claim of a wrong size")
    return Claim(opened[:SIGNATURE_SIZE], opened[SIGNATURE_SIZE:])


def encode_shown(signed: SignedRecord, settled: bool) -> bytes:
    """What a node shows in a handshake."""
    return bytes((settled,)) + encode_signed(signed)


def decode_shown(shown: bytes) -> tuple[SignedRecord, bool]:
    if not shown or shown[0] > 1:
        raise malformed("a node that is settled neither true nor false")
    return decode_signed(shown[1:]), shown[0] == 1


# --- node records ---


def encode_record(record: NodeRecord) -> bytes:
    return _dump(_record_fields(record))


def decode_record(data: bytes) -> NodeRecord:
    return _record(_load(data))


def encode_signed(signed: SignedRecord) -> bytes:
    return signed.public_key + signed.signature + signed.record


def decode_signed(data: bytes) -> SignedRecord:
    if len(data) <= SIGNED_SIZE:
        raise malformed("a signed record of a wrong size")
    key, record = PUBLIC_KEY_SIZE, SIGNED_SIZE
    return SignedRecord(data[:key], data[key:record], data[record:])


def _record_fields(record: NodeRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": record.id,
        "name": record.name,
        "started": record.started,
        "url": record.url,
        "addresses": [str(address) for address in record.addresses],
        "version": record.version,
    }
    if record.networks:
        fields["networks"] = [str(network) for network in record.networks]
    return fields


def _record(fields: Any) -> NodeRecord:
    """A record out of parsed JSON. Fields that are not known are left for later versions."""
    if not isinstance(fields, dict):
        raise malformed("a node record that is not an object")
    started, addresses = fields.get("started"), fields.get("addresses")
    if type(started) is not int or not 0 <= started < 1 << 63:
        raise malformed("a node record without a start time")
    if not isinstance(addresses, list) or not 1 <= len(addresses) <= MAX_ADDRESSES:
        raise malformed("a node record without addresses")
    networks = fields.get("networks", [])
    if not isinstance(networks, list) or len(networks) > MAX_NETWORKS:
        raise malformed("a node record whose networks are not a list of a decent length")
    url = _word(fields.get("url"), MAX_URL, "a node record whose URL")
    try:
        split_url(url)
    except ValueError as error:
        raise malformed(f"a node record whose URL {error}") from None
    return NodeRecord(
        id=_node_id(fields.get("id")),
        name=_word(fields.get("name"), MAX_NAME, "a node record whose name"),
        started=started,
        url=url,
        addresses=tuple(_interface(address) for address in addresses),
        version=_word(fields.get("version"), MAX_NAME, "a node record whose version"),
        networks=tuple(_network(network) for network in networks),
    )


def _node_id(value: Any) -> str:
    if not isinstance(value, str) or not _NODE_ID.fullmatch(value):
        raise malformed("a node id that is not 32 hexadecimal digits")
    return value


def _word(value: Any, longest: int, what: str) -> str:
    """Printable ASCII without spaces: what may go into a log line and a metric label as it is."""
    if not isinstance(value, str) or not _PRINTABLE.fullmatch(value):
        raise malformed(f"{what} is not printable ASCII without spaces")
    if len(value) > longest:
        raise malformed(f"{what} has {len(value)} characters, more than {longest}")
    return value


def _interface(value: Any) -> Interface:
    try:
        if not isinstance(value, str):
            raise ValueError
        address = ipaddress.ip_interface(value)
    except ValueError:
        raise malformed("an overlay address that is not one") from None
    if isinstance(address, ipaddress.IPv6Interface) and address.scope_id is not None:
        raise malformed("an overlay address with a scope")
    return address


@lru_cache(256)
def _parse_network(text: str) -> Network:
    """Of all nodes of a mesh it is one object: they say the same."""
    return ipaddress.ip_network(text)


def _network(value: Any) -> Network:
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError
        return _parse_network(value)
    except ValueError:
        raise malformed("a network that is not one") from None


# --- after authentication ---


def encode_gossip(gossip: Gossip) -> bytes:
    ids = "".join(gossip.linked + gossip.lost)
    telling = gossip.telling.to_bytes(TELLING_SIZE, "big")
    return b"G" + telling + len(gossip.linked).to_bytes(2, "big") + bytes.fromhex(ids)


def decode_gossip(payload: bytes) -> Gossip:
    count = 1 + TELLING_SIZE
    if len(payload) < count + 2:
        raise malformed("gossip without its parts")
    ids = _ids(payload[count + 2 :])
    linked = int.from_bytes(payload[count : count + 2], "big")
    if linked > len(ids):
        raise malformed("gossip that is cut off")
    return Gossip(int.from_bytes(payload[1:count], "big"), ids[:linked], ids[linked:])


def encode_inquiry(ids: Sequence[str]) -> bytes:
    return b"W" + bytes.fromhex("".join(ids))


def decode_inquiry(payload: bytes) -> tuple[str, ...]:
    """The ids of the nodes that the other end wants to know of."""
    return _ids(payload[1:])


def _ids(data: bytes) -> tuple[str, ...]:
    if len(data) % NODE_ID_SIZE:
        raise malformed("node ids of a wrong size")
    text, size = data.hex(), 2 * NODE_ID_SIZE
    return tuple(text[start : start + size] for start in range(0, len(text), size))


def encode_introduction(introduced: Sequence[SignedRecord]) -> bytes:
    parts = [encode_signed(signed) for signed in introduced]
    return b"N" + b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def decode_introduction(payload: bytes) -> tuple[SignedRecord, ...]:
    """Nodes that somebody introduces. Their records are neither verified nor parsed yet."""
    introduced: list[SignedRecord] = []
    at = 1
    if at >= len(payload):
        raise malformed("an introduction of nobody")
    while at < len(payload):
        start = at + 2
        at = start + int.from_bytes(payload[at:start], "big")
        if at > len(payload) or at - start > MAX_SIGNED or len(introduced) == MAX_INTRODUCED:
            raise malformed("an introduction of a wrong size")
        introduced.append(decode_signed(payload[start:at]))
    return tuple(introduced)


def encode_refusal(refusal: Refusal) -> bytes:
    return b"R" + _dump({"addresses": refusal.addresses, "holder": refusal.holder})


def decode_refusal(payload: bytes) -> Refusal:
    fields = _load(payload[1:])
    addresses = fields.get("addresses") if isinstance(fields, dict) else None
    if not isinstance(addresses, list) or len(addresses) > MAX_ADDRESSES:
        raise malformed("a refusal without addresses")
    holder = fields.get("holder")
    if holder != "":
        holder = _word(holder, MAX_NAME, "a refusal whose holder")
    return Refusal(tuple(str(_interface(address).ip) for address in addresses), holder)


def encode_bye(reason: str) -> bytes:
    return b"B" + reason.encode("ascii")


def decode_bye(payload: bytes) -> str:
    for reason in BYE_REASONS:
        if payload[1:] == reason.encode("ascii"):
            return reason
    raise malformed("a bye for no known reason")


def decode_token(payload: bytes) -> bytes:
    """The token of a ping or a pong."""
    if len(payload) != 1 + TOKEN_SIZE:
        raise malformed("a ping or pong of a wrong size")
    return payload[1:]


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _load(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise malformed("JSON that is not JSON") from None

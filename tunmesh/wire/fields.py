"""Parsing and validation of message fields. The only exception raised is PeerError("malformed")."""

from __future__ import annotations

import ipaddress
import json
import re
from functools import lru_cache
from typing import Any

from tunmesh.addresses import Interface, Network
from tunmesh.errors import FailureReason, PeerError

_NODE_ID = re.compile(r"[0-9a-f]{32}")
_PRINTABLE = re.compile(r"[!-~]+")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def malformed(text: str) -> PeerError:
    return PeerError(FailureReason.MALFORMED, text)


def parse_id(value: Any) -> str:
    if not isinstance(value, str) or not _NODE_ID.fullmatch(value):
        raise malformed("a node id that is not 32 hexadecimal digits")
    return value


def parse_word(value: Any, longest: int, what: str) -> str:
    """Printable ASCII without spaces, which is safe in a log line and a metric label."""
    if not isinstance(value, str) or not _PRINTABLE.fullmatch(value):
        raise malformed(f"{what} is not printable ASCII without spaces")
    if len(value) > longest:
        raise malformed(f"{what} has {len(value)} characters, more than {longest}")
    return value


def parse_group(value: Any) -> str:
    """The name of a group: one label of a DNS name, in lower case."""
    if not isinstance(value, str) or not _LABEL.fullmatch(value):
        raise malformed("a group is not a label of a DNS name in lower case")
    return value


def parse_list(value: Any, longest: int, what: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > longest:
        raise malformed(f"{what} are not a list of at most {longest}")
    return value


def parse_number(value: Any, most: int, what: str, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= most:
        raise malformed(f"{what} is not a number from {least} to {most}")
    return value


def parse_boolean(value: Any, what: str) -> bool:
    if type(value) is not bool:
        raise malformed(f"{what} is neither true nor false")
    return value


def parse_interface(value: Any) -> Interface:
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
def _cached_network(text: str) -> Network:
    """Cached, since all nodes of a mesh send the same networks."""
    return ipaddress.ip_network(text)


def parse_network(value: Any) -> Network:
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError
        return _cached_network(value)
    except ValueError:
        raise malformed("a network that is not one") from None


def dump_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def load_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise malformed("JSON that is not JSON") from None

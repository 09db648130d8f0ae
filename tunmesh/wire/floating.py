"""Claims to floating addresses, as a node record states them.

    [["10.77.0.100", 3, true], …]      the address, the number of the claim, whether it is held

An address that floats has no prefix: it makes no node a neighbour. What the numbers are for:
membership.floating.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tunmesh.addresses import Address
from tunmesh.wire.fields import malformed, parse_boolean, parse_interface, parse_list, parse_number
from tunmesh.wire.sizes import MAX_FLOATING, MAX_NUMBER

_WHAT = "a node record whose floating addresses"


class FloatingClaim(NamedTuple):
    """One node's claim to one floating address."""

    address: Address
    number: int  # of two nodes that wait for an address, the one with the lower number is next
    is_held: bool = False  # False: the node waits for it, or asks whether anybody objects


def dump_claims(claims: tuple[FloatingClaim, ...]) -> list[list[Any]]:
    """As JSON."""
    return [[str(each.address), each.number, each.is_held] for each in claims]


def parse_claims(value: Any) -> tuple[FloatingClaim, ...]:
    """The reverse. Raises PeerError."""
    claims = tuple(map(_claim, parse_list(value, MAX_FLOATING, _WHAT)))
    if len({claim.address for claim in claims}) < len(claims):
        raise malformed("a node record that claims a floating address twice")
    return claims


def _claim(value: Any) -> FloatingClaim:
    if not isinstance(value, list) or len(value) != 3:
        raise malformed(f"{_WHAT} are not lists of three")
    text, number, is_held = value
    if isinstance(text, str) and "/" in text:
        raise malformed(f"{_WHAT} have a prefix")
    return FloatingClaim(
        parse_interface(text).ip,
        parse_number(number, MAX_NUMBER, "the number of a claim"),
        parse_boolean(is_held, "a claim that is held"),
    )

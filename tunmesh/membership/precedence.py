"""Which of two nodes has the better right to an address that both claim.

Every start of a node has an id of its own. Two *incarnations* of one node have the same name and an
address in common: the node before and after it was restarted, most likely.

Both ends of a link, and everybody else who sees both records, must come to the same result.
"""

from __future__ import annotations

from tunmesh.addresses import Address
from tunmesh.wire.records import NodeRecord


def are_incarnations(one: NodeRecord, other: NodeRecord) -> bool:
    """Whether they are two incarnations of one node. A node that chooses its addresses itself may
    have others by now; its incarnations have the same URL, where only one of them can listen."""
    if one.name != other.name or one.id == other.id:
        return False
    if (one.automatic or other.automatic) and one.url == other.url:
        return True
    return not set(one.own).isdisjoint(other.own)


def is_later_incarnation(one: NodeRecord, other: NodeRecord) -> bool:
    """Whether they are, `one` started later by the clocks of the two, and so goes before the other.
    It does not if either chose its address itself: if the other one is alive, it is no restart, and
    `one` may be a newcomer that wants to have the address, or that can have another one."""
    later = (one.started, one.id) > (other.started, other.id)
    is_chosen = one.automatic or other.automatic
    return later and not is_chosen and are_incarnations(one, other)


def takes_precedence(one: NodeRecord, other: NodeRecord) -> bool:
    """Whether `one` has the better right: of two incarnations the later one, else the senior."""
    if is_later_incarnation(one, other) or is_later_incarnation(other, one):
        return is_later_incarnation(one, other)
    return seniority(one) < seniority(other)


def seniority(record: NodeRecord) -> tuple[bool, bool, int, str]:
    """Less is more senior: settled nodes come first (membership.seniority), then those that cannot
    choose another address, then who started earlier."""
    return (not record.settled, bool(record.automatic), record.started, record.id)


def turn(record: NodeRecord, address: Address) -> tuple[bool, int, int, str]:
    """Less comes before more, of those that claim an address: first those that have it, and then
    those that wait, by the numbers of their claims. (Of two that have it this says nothing.)"""
    if address in record.held:
        return False, 0, 0, ""
    numbers = (claim.number for claim in record.floating if claim.address == address)
    return True, next(numbers, 0), record.started, record.id

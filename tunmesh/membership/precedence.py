"""Which of two nodes has the better right to an address that both claim.

Every start of a node has an id of its own. Two *incarnations* of one node have the same name and an
address in common: the node before and after it was restarted, most likely.

Both ends of a link, and everybody else who sees both records, must come to the same result.
"""

from __future__ import annotations

from tunmesh.wire.records import NodeRecord


def are_incarnations(one: NodeRecord, other: NodeRecord) -> bool:
    """Whether they are two incarnations of one node."""
    if one.name != other.name or one.id == other.id:
        return False
    return not {a.ip for a in one.addresses}.isdisjoint(a.ip for a in other.addresses)


def is_later_incarnation(one: NodeRecord, other: NodeRecord) -> bool:
    """Whether they are, and `one` started later by the clocks of the two."""
    return are_incarnations(one, other) and (one.started, one.id) > (other.started, other.id)


def takes_precedence(one: NodeRecord, other: NodeRecord) -> bool:
    """Whether `one` has the better right: of two incarnations the later one, else the senior."""
    if are_incarnations(one, other):
        return is_later_incarnation(one, other)
    return seniority(one) < seniority(other)


def seniority(record: NodeRecord) -> tuple[bool, int, str]:
    """Less is more senior: settled nodes come first (membership.seniority), then who started
    earlier."""
    return (not record.settled, record.started, record.id)

"""Multicast groups at one node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """A group that this machine or a linked node is in. From which sources packets are wanted:
    `all`, `all but …`, or addresses; "" if from none."""

    group: str
    here: str
    nodes: tuple[tuple[str, str], ...]  # the names of linked nodes, and from which sources


@dataclass(frozen=True, slots=True)
class MulticastStatus:
    """What is carried to groups, and for whom."""

    versions: tuple[int, ...]  # of IP
    groups: tuple[GroupStatus, ...]
    packets: int  # of this machine, to groups, that were sent to somebody
    copies: int  # of them
    ignored: int  # groups of peers, because they were too many
    left_out: bool  # this machine is in more groups than are told

    @property
    def joined(self) -> int:
        """How many groups this machine is in."""
        return sum(bool(group.here) for group in self.groups)

    @property
    def elsewhere(self) -> int:
        """How many groups linked nodes are in."""
        return sum(bool(group.nodes) for group in self.groups)

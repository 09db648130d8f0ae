"""What the table must know of multicast groups. multicast.audience knows it."""

from __future__ import annotations

from collections.abc import Collection, Container
from typing import Protocol, TypeVar

P = TypeVar("P")


class Groups(Protocol[P]):
    """Groups are raw addresses: 4 or 16 bytes. `versions`: of IP, whose multicast is carried."""

    @property
    def versions(self) -> Collection[int]: ...

    def recipients(self, group: bytes, frame: bytes, near: Container[P]) -> Collection[P]:
        """The peers that a packet of this machine to a group goes to. `near` are those in the local
        subnet."""

    def hears(self, group: bytes, is_near: bool) -> bool:
        """Whether this node takes packets to a group from a peer, which is in the local subnet or
        not."""


class NoGroups(Groups[P]):
    """Multicast is not carried."""

    versions: Collection[int] = ()

    def recipients(self, group: bytes, frame: bytes, near: Container[P]) -> Collection[P]:
        return ()

    def hears(self, group: bytes, is_near: bool) -> bool:
        return False

"""Who gets a packet to a group, and which packets to groups this node takes.

Each node tells the others which groups it is interested in (wire.interests). A packet goes to those
that are interested in its group and its source, and to nobody else; to a link-local group only in
the local subnet, and there to every node if all hosts are in it (multicast.scope).

Bounds, for what one peer says: MOST groups and MOST_SOURCES sources; and MEMORY for all peers, of
which no source address may hold more than what is left for everybody (link.memory_budget). What
exceeds is ignored, and the caller is told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Hashable
from typing import Generic, TypeVar

from tunmesh.link.memory_budget import Account
from tunmesh.multicast import scope
from tunmesh.multicast.own import MOST, MOST_SOURCES, OwnInterests
from tunmesh.packets import virtio
from tunmesh.packets.link_control import is_link_control
from tunmesh.wire.interests import Interest, Interests

MEMORY = 16 << 20  # bytes
GROUP_SIZE, SOURCE_SIZE = 400, 100  # bytes that an interest, and each of its sources, takes here
_SIZES = {4: 4, 6: 16}  # bytes of an address, by version of IP

P = TypeVar("P", bound=Hashable)


class _Heard:
    """What one peer has said."""

    __slots__ = ("account", "groups", "number", "sources", "versions")

    def __init__(self, account: Account) -> None:
        self.account = account
        self.number = -1
        self.versions: frozenset[int] = frozenset()
        self.groups: dict[bytes, Interest] = {}
        self.sources = 0  # in all of them


class Audience(Generic[P]):
    """`versions`: of IP, whose multicast this node carries; `own`: what it is interested in
    itself."""

    def __init__(self, versions: Collection[int], own: OwnInterests) -> None:
        self.versions = frozenset(versions)
        self.packets = 0  # to groups that were sent to somebody
        self.copies = 0  # of them
        self._sizes = {_SIZES[version] for version in versions}
        self._own = own
        self._heard: dict[P, _Heard] = {}
        self._members: dict[bytes, dict[P, Interest]] = {}

    # --- dataplane.groups.Groups ---

    def recipients(self, group: bytes, frame: bytes, near: Container[P]) -> Collection[P]:
        """The peers that a packet of this machine to a group goes to. `near` are those in the local
        subnet."""
        if len(group) not in self._sizes or not scope.leaves_machine(group):
            return ()
        if is_link_control(frame):
            return ()
        found: list[P]
        if group in scope.ALL_HOSTS:
            version = 4 if len(group) == 4 else 6
            found = [p for p, heard in self._heard.items() if version in heard.versions]
        else:
            source = virtio.ends(frame)[0]
            members = self._members.get(group, {})
            found = [peer for peer, interest in members.items() if interest.takes(source)]
        if scope.is_link_local(group):
            found = [peer for peer in found if peer in near]
        if found:
            self.packets += 1
            self.copies += len(found)
        return found

    def hears(self, group: bytes, is_near: bool) -> bool:
        """Whether this node takes packets to a group from a peer, which is in the local subnet or
        not."""
        if len(group) not in self._sizes or (scope.is_link_local(group) and not is_near):
            return False
        return group in self._own or group in scope.ALL_HOSTS

    # --- what peers say ---

    def heard(self, peer: P, said: Interests, account: Callable[[], Account]) -> int:
        """A peer has said this. How many of its groups were ignored because they are too many.
        `account()` makes the account of a peer that had said nothing yet."""
        heard = self._heard.get(peer)
        if heard is None:
            heard = self._heard[peer] = _Heard(account())
        if said.number <= heard.number:
            return 0
        heard.number, heard.versions = said.number, said.versions
        if said.is_full:
            self._clear(peer, heard)
        return sum(not self._enter(peer, heard, interest) for interest in said.groups)

    def comes_from(self, peer: P, source: str) -> None:
        """What is kept of this peer counts for this source from now on."""
        heard = self._heard.get(peer)
        if heard is not None:
            heard.account.move(source)

    def part(self, peer: P) -> None:
        """A peer is no longer linked."""
        heard = self._heard.pop(peer, None)
        if heard is not None:
            self._clear(peer, heard)

    def _enter(self, peer: P, heard: _Heard, interest: Interest) -> bool:
        """Whether there was room for it."""
        group = interest.group
        before = heard.groups.get(group)
        if before is not None:
            self._remove(peer, heard, before)
        if interest.is_over or not scope.is_told(group) or len(group) not in self._sizes:
            return True
        size = GROUP_SIZE + SOURCE_SIZE * len(interest.sources)
        if (
            len(heard.groups) >= MOST
            or heard.sources + len(interest.sources) > MOST_SOURCES
            or heard.account.room < size
        ):
            return False
        heard.groups[group] = interest
        heard.sources += len(interest.sources)
        heard.account.hold(heard.account.held + size)
        self._members.setdefault(group, {})[peer] = interest
        return True

    def _remove(self, peer: P, heard: _Heard, interest: Interest) -> None:
        del heard.groups[interest.group]
        heard.sources -= len(interest.sources)
        size = GROUP_SIZE + SOURCE_SIZE * len(interest.sources)
        heard.account.hold(heard.account.held - size)
        members = self._members[interest.group]
        del members[peer]
        if not members:
            del self._members[interest.group]

    def _clear(self, peer: P, heard: _Heard) -> None:
        for interest in tuple(heard.groups.values()):
            self._remove(peer, heard, interest)

    # --- for the status ---

    def members(self) -> dict[bytes, dict[P, Interest]]:
        """Every group that peers are interested in, and what each of these wants."""
        return {group: dict(members) for group, members in self._members.items()}

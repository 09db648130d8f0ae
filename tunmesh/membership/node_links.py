"""The links to one node: which of them is in use.

When a second link to a node comes up, both ends must keep the same one without asking each other.
A direct link is better than a relayed one; of two of a kind the one dialed by the node with the
smaller id is better. A better newcomer takes over at once. A worse one indicates that the other end
may have lost the better link, so the link in use is probed: if it answers, the newcomer is retired;
if not, the newcomer takes over.

Of links of a kind that the same node dialed the newest is the best, but only the dialer knows which
that is: links that come up together may do so in another order at the other end. So the listener
uses the newcomer and keeps the old ones until the dialer has retired all but one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Generic

from tunmesh.membership.commands import Command, Link, Probe


@dataclass(frozen=True, slots=True, order=True)
class Rank:
    """Of two links the one with the higher rank is better. `by_smaller`: the one of the two nodes
    that has the smaller id dialed it."""

    is_direct: bool
    by_smaller: bool


# Links to one node beside the one in use. Only an attacker has more than a few come up at once.
MAX_SPARES = 3


@dataclass(frozen=True, slots=True)
class Change(Generic[Link]):
    """What is to be done about the links, in this order."""

    is_switched: bool = False  # another link is in use now
    is_probe: bool = False  # probe the link in use
    retired: tuple[Link, ...] = ()


class NodeLinks(Generic[Link]):
    """`is_smaller`: of the two nodes this one has the smaller id."""

    def __init__(self, link: Link, rank: Rank, is_smaller: bool) -> None:
        self.in_use = link
        self._rank = rank
        self._is_smaller = is_smaller
        self._is_given_up = False  # the other end has retired it: any newcomer is better
        self._is_doubted = False  # it ends if the probe that is under way is not answered
        # The oldest first: worse ones that wait for the outcome of a probe, and older ones of a
        # dialer that has yet to retire all but one.
        self._spares: dict[Link, Rank] = {}

    def __iter__(self) -> Iterator[Link]:
        return iter((self.in_use, *self._spares))

    @property
    def spares(self) -> tuple[Link, ...]:
        return tuple(self._spares)

    # --- facts ---

    def came_up(self, link: Link, rank: Rank) -> Change[Link]:
        """A further link."""
        old, old_rank = self.in_use, self._rank
        retired: tuple[Link, ...] = ()
        is_worse = rank < old_rank and not self._is_given_up
        if is_worse:
            self._spares[link] = rank
            self._is_doubted = True
        elif rank == old_rank and not self._is_given_up and not self._is_ours(rank):
            self._use(link, rank)
            self._spares[old] = rank
            retired = self._retire(self._worse())
        else:
            self._use(link, rank)
            retired = (old, *self._retire(self.spares))
        if len(self._spares) > MAX_SPARES:
            worst = min(self._spares, key=self._spares.__getitem__)
            retired += self._retire((worst,))
        return Change(not is_worse, is_worse, retired)

    def ended(self, link: Link) -> Change[Link] | None:
        """One of them has ended. None: it was the last."""
        if link in self._spares:
            del self._spares[link]
            return Change()
        return self._fall_back() if self._spares else None

    def given_up(self, link: Link) -> Change[Link]:
        """The other end has retired this one."""
        if link in self._spares:
            return Change(retired=self._retire((link,)))
        if not self._spares:
            self._is_given_up = True
            return Change()
        change = self._fall_back()
        return replace(change, retired=(*change.retired, link))

    def doubt(self) -> Command[Link]:
        """It ends if it does not answer."""
        self._is_doubted = True
        return Probe(self.in_use)

    def answered(self) -> Change[Link]:
        """The link in use lives, so those that are worse are not needed."""
        self._is_doubted = False
        return Change(retired=self._retire(self._worse()))

    def stayed_silent(self) -> bool:
        """It did not answer the probe. Whether it has to end for that."""
        doubted, self._is_doubted = self._is_doubted, False
        return doubted

    # --- choices ---

    def _is_ours(self, rank: Rank) -> bool:
        """Whether this node dialed the links of this rank."""
        return rank.by_smaller == self._is_smaller

    def _use(self, link: Link, rank: Rank) -> None:
        self.in_use, self._rank = link, rank
        self._is_given_up = self._is_doubted = False

    def _fall_back(self) -> Change[Link]:
        """The link in use has ended: use the best of the others, of those the newest. If there are
        worse ones the question is again whether it lives; among our own we choose."""
        link = max(reversed(self._spares), key=self._spares.__getitem__)
        rank = self._spares.pop(link)
        self._use(link, rank)
        equals = [each for each, other in self._spares.items() if other == rank]
        retired = self._retire(equals) if self._is_ours(rank) else ()
        self._is_doubted = bool(self._worse())
        return Change(True, self._is_doubted, retired)

    def _worse(self) -> list[Link]:
        return [link for link, rank in self._spares.items() if rank < self._rank]

    def _retire(self, links: Iterable[Link]) -> tuple[Link, ...]:
        retired = tuple(links)
        for link in retired:
            del self._spares[link]
        return retired

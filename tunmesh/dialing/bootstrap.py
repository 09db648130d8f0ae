"""How a node finds its first peer: groups of URLs, each dialed until it has a live link.

A URL may be a load balancer. The node that answers is a member like any other, advertises its own
URL and is reached there from then on; the group only remembers that it was found through it. A
group is content while one of the nodes that were reached by dialing one of its URLs is linked; then
it does not dial. A dial for another reason, such as hearsay, counts as well if it went to the same
URL. The URL that a node merely advertises does not count: otherwise a member that claims the URL of
the bootstrap node would keep everybody from looking for that one. So if the bootstrap node dialed
us first, its URL is dialed once all the same, and one of the two links is retired; if its URL
cannot be reached from here, it is dialed for ever, as rarely as one that does not answer.

A URL that leads back to this node is no failure, but no help either. Behind a name with many
addresses that may happen by chance: only after LEADS_BACK times in a row is the node taken to be
the only one there. That does not make it the first of its mesh: it was told to look for others, and
the list may be wrong. A node's own URL is dialed like any other: if it was copied from another
node, it leads there.

Behind such a name, nodes that start together may find each other in pairs, each content with the
other, and never hear of the rest. So a content group looks again from time to time, more and more
rarely, unless each of its URLs led to a linked node that advertises this very URL. It tries the
addresses first at which no linked node is known (dialing.address_order); so it finds a node that
reaches nobody whom others know, too. If there is none, what it finds is linked already: then one of
the two links is retired, as after a race.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

from tunmesh.addresses import Target
from tunmesh.dialing.address_order import AddressOrder
from tunmesh.dialing.reconnect import PeerFactory
from tunmesh.wire.records import NodeRecord

LEADS_BACK = 3
LOOK_AGAIN, LOOK_AGAIN_AT_LAST = 60.0, 960.0  # seconds between two looks of a content group


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """One bootstrap group. `retries`: rounds after the first one, -1 for no end."""

    name: str
    targets: tuple[Target, ...]
    retries: int = -1


class Group:
    """The dialing of one group."""

    def __init__(
        self,
        settings: GroupSettings,
        own: Callable[[], Target],
        dialer: PeerFactory,
        order: AddressOrder,
        draw: Callable[[], float],
    ) -> None:
        self.settings = settings
        self._own = own
        self.dialer = dialer
        self._order = order
        self._found: set[str] = set()
        self._led_to: dict[Target, str] = {}  # the node that was reached there last
        self._led_back: Counter[Target] = Counter()  # times in a row
        self._draw = draw
        self.is_content = False
        self._pause = LOOK_AGAIN  # on average, before the next look
        self._next_look = 0.0

    @property
    def leads_back(self) -> bool:
        """Whether all its URLs lead to this node."""
        targets = self.settings.targets
        return bool(targets) and all(self._led_back[each] >= LEADS_BACK for each in targets)

    def found(self, target: Target, node_id: str) -> None:
        """Dialing this URL of the group led to a link with this node."""
        self._found.add(node_id)
        self._led_to[target] = node_id
        del self._led_back[target]

    def led_back(self) -> None:
        """Dialing the group led to this node itself."""
        self._led_back[self.dialer.target] += 1

    def update(self, linked: Sequence[NodeRecord]) -> None:
        """Dial if no link is left, unless all rounds have failed; else stop, or look again. Called
        often, and at least every groom_interval."""
        urls = {record.id: record.host_port for record in linked}
        self._found &= urls.keys()
        was_content, self.is_content = self.is_content, bool(self._found)
        self._order.seek_others(self.is_content)
        if self.is_content:
            self._led_back.clear()
            own_urls = {at for at, node_id in self._led_to.items() if urls.get(node_id) == at}
            self._look_again(was_content, own_urls)
        elif not self.settings.targets:
            self.dialer.stop()
        elif was_content or not self.dialer.exhausted:
            self.dialer.start()

    def _look_again(self, was_content: bool, own_urls: Container[Target]) -> None:
        """Dial from time to time; the next update sees the result. `own_urls` are known to lead to
        linked nodes that advertise them."""
        now = self.dialer.clock.seconds()
        if was_content and not self.dialer.continueTrying:
            others = (target for target in self.settings.targets if target != self._own())
            if now >= self._next_look and any(target not in own_urls for target in others):
                self.dialer.start()
            return
        self._pause = min(2 * self._pause, LOOK_AGAIN_AT_LAST) if was_content else LOOK_AGAIN
        self._next_look = now + self._pause * (0.5 + self._draw())
        self.dialer.stop()


class Bootstrap:
    """All groups of one node, whose own URL leads to `own()`. `make_dialer(group, order)` makes a
    dialer for each of them; `linked()`: the addresses that linked nodes connect from."""

    def __init__(
        self,
        groups: Sequence[GroupSettings],
        own: Callable[[], Target],
        make_dialer: Callable[[GroupSettings, AddressOrder], PeerFactory],
        linked: Callable[[], Container[str]],
        draw: Callable[[], float],
    ) -> None:
        self._draw = draw
        self._linked = linked
        self._own = own
        self._make_dialer = make_dialer
        self._groups: list[Group] = []
        self.change(groups)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to bootstrap from: this is the first node of its mesh."""
        return not any(group.settings.targets for group in self._groups)

    @property
    def leads_back(self) -> tuple[Target, ...]:
        """All targets, if every one of them leads to this node; else none."""
        groups = [group for group in self._groups if group.settings.targets]
        if not all(group.leads_back for group in groups):
            return ()
        return tuple(target for group in groups for target in group.settings.targets)

    @property
    def is_content(self) -> bool:
        """Whether there are groups, and every one of them has a link."""
        return bool(self._groups) and all(group.is_content for group in self._groups)

    def dialing(self) -> Iterator[tuple[str, PeerFactory]]:
        """The groups that have no link, by name."""
        for group in self._groups:
            if group.dialer.continueTrying and not group.is_content:
                yield group.settings.name, group.dialer

    def change(self, groups: Sequence[GroupSettings]) -> None:
        """Use these groups from now on. Those that have not changed go on as they are; the others
        start afresh: a node found at an old URL must not keep them from dialing the new ones."""
        kept = {group.settings: group for group in self._groups}
        self._groups = []
        for settings in groups:
            group = kept.pop(settings, None)
            if group is None:
                order = AddressOrder(self._own, self._linked)
                dialer = self._make_dialer(settings, order)
                group = Group(settings, self._own, dialer, order, self._draw)
            self._groups.append(group)
        for group in kept.values():
            group.dialer.abandon()

    def found(self, dialer: PeerFactory | None, node_id: str) -> None:
        """This dialer, whatever it is for, made a link with this node."""
        for group in self._groups:
            if dialer is not None and dialer.target in group.settings.targets:
                group.found(dialer.target, node_id)

    def led_back(self, dialer: PeerFactory | None) -> None:
        """This dialer reached this node itself."""
        for group in self._groups:
            if group.dialer is dialer:
                group.led_back()

    def update(self, linked: Sequence[NodeRecord]) -> None:
        """Update every group."""
        for group in self._groups:
            group.update(linked)

    def abandon(self) -> None:
        """Stop dialing."""
        for group in self._groups:
            group.dialer.abandon()

"""Whom this node dials, and why: its bootstrap groups, the nodes that others vouch for, and lost
nodes.

    bootstrap groups ── dialing.bootstrap ──┐
    nodes vouched for ── dialing.discovered ┼──> Connector.dialer ──> a link, and the interpreter
    lost nodes ── dialing.redial ───────────┘

A link that one of them dialed may be what another one of them is looking for; so whatever dialed
it, all three are told whom it led to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tunmesh.addresses import Target, plain_host, shown_target
from tunmesh.dialing.address_order import AddressOrder
from tunmesh.dialing.attempt import DialPolicy, Progress
from tunmesh.dialing.bootstrap import Bootstrap, GroupSettings
from tunmesh.dialing.connections import Connector
from tunmesh.dialing.dial_limit import DialLimit
from tunmesh.dialing.dialable import Dialable
from tunmesh.dialing.discovered import DiscoveredNodes
from tunmesh.dialing.reconnect import PeerFactory
from tunmesh.dialing.redial import Redialer
from tunmesh.errors import PeerError
from tunmesh.link.link import Link
from tunmesh.logs import bugs
from tunmesh.membership.lost_nodes import LostNodes
from tunmesh.membership.precedence import are_incarnations
from tunmesh.node.own.url_checker import UrlChecker
from tunmesh.node.parts import Parts
from tunmesh.node.peers import LinkedNode
from tunmesh.node.stories.dials import DialStory
from tunmesh.status.peers import LEADS_BACK, DialStatus, LostNode
from tunmesh.wire import messages
from tunmesh.wire.records import NodeRecord

MAX_REDIALS = 4  # attempts at a time to link with lost nodes
PATIENCE = 1.0  # seconds that the node with the larger id lets the other one dial first
PATIENCE_PER_NODE = 0.02  # and so many more for each node that the other one may have to dial
MAX_PATIENCE = 10.0  # a member that invents nodes must not delay dials by minutes


class Dials:
    """`before_bootstrap()` is called before the URLs of a group are dialed; `progressed(id, how
    far)` is told of attempts at nodes that others vouch for."""

    def __init__(
        self,
        parts: Parts,
        story: DialStory,
        connector: Connector,
        before_bootstrap: Callable[[], None],
        progressed: Callable[[str, Progress], None],
    ) -> None:
        host, settings = parts.host, parts.settings
        self._parts = parts
        self._story = story
        self._connector = connector
        self._before_bootstrap = before_bootstrap
        rule = Dialable(settings.outside, settings.dial_allow, lambda: self._own()[0])
        self.discovered = DiscoveredNodes(
            host.reactor,
            connector,
            rule,
            host.draw,
            self._introducers,
            self._story.budget_spent,
            progressed,
        )
        self.checker = UrlChecker(parts, self.discovered.once)

        def connected_from() -> set[str]:
            links = [peer.link for peer in parts.peers if not peer.link.via]
            return {plain_host(each.transport.getPeer().host) for each in links}

        self._bootstrap = Bootstrap(
            settings.reloadable.groups,
            self._own,
            self._group_dialer,
            connected_from,
            host.draw,
        )
        limit = DialLimit(MAX_REDIALS, host.draw, bugs.caught("a dial could not begin"))
        redial = DialPolicy(limit, rule=rule, rounds=0, is_quiet=True)
        self._redialer = Redialer(
            host.reactor,
            LostNodes(self._own, host.draw),
            lambda target: connector.dialer((target,), redial),
            lambda: self._bootstrap.is_content,
            self._busy,
        )

    # --- what to dial ---

    def dial(self, record: NodeRecord, patient: bool) -> None:
        """Try to link with this node until that is stopped. `patient`: it should dial first."""
        self.discovered.dial(record, self._delay() if patient else 0.0)

    def seek_direct(self, record: NodeRecord) -> None:
        """This node has a relayed link: try to get a direct one."""
        is_larger = self._parts.me.id > record.id
        self.discovered.seek_direct(record, self._delay() if is_larger else 0.0)

    def _delay(self) -> float:
        """How long to let the other node dial first."""
        parts = self._parts
        patience = min(PATIENCE + PATIENCE_PER_NODE * parts.roster.nodes_known, MAX_PATIENCE)
        return patience * (1 + parts.host.draw())

    def hurry(self) -> None:
        """What could not be reached may be reached now: try again soon."""
        for _, dialer in (*self.discovered, *self._bootstrap.dialing()):
            dialer.hurry()

    def update(self) -> None:
        """Dial the groups that have no link, and the lost nodes that are due."""
        self._bootstrap.update(self._parts.roster.linked())
        self._redialer.dial_due()

    def use_groups(self, groups: tuple[GroupSettings, ...]) -> None:
        """Bootstrap from these groups from now on."""
        self._bootstrap.change(groups)

    def abandon(self) -> None:
        """Stop dialing."""
        self._bootstrap.abandon()
        self._redialer.abandon()
        self.checker.abandon()
        self.discovered.abandon()

    # --- what came of it ---

    def is_reached(self, link: Link) -> bool:
        """Whether this new link was dialed at the URL of the node that it leads to."""
        dialer = self._connector.attempt(link)
        return dialer is not None and dialer.target == link.node.host_port

    def link_up(self, link: Link) -> None:
        """A link came up that is of use."""
        dialer = self._connector.attempt(link)
        self._bootstrap.found(dialer, link.node.id)
        self._redialer.answered(dialer)
        self._answered(dialer, link)
        self.checker.link_up(link, dialer, self.is_reached(link))
        if link.via:
            self.seek_direct(link.node)
        else:
            self.discovered.stop(link.node.id)
        self.update()
        self._connector.settled(link)

    def led_back(self, link: Link) -> None:
        """A link leads to this node itself."""
        dialer = self._connector.attempt(link)
        self._bootstrap.led_back(dialer)
        self._redialer.answered(dialer)
        if dialer is not None:
            dialer.set_reason(LEADS_BACK)
            self._answered(dialer, link)
            self._parts.url.led_back()
        self.checker.link_up(link, dialer, False)
        is_shared = bool(self._parts.me.record.automatic)  # the config, with other nodes
        if self.leads_back and not len(self._parts.peers) and not is_shared:
            self._story.leads_back(self.leads_back)

    def failed(self, link: Link, error: PeerError) -> bool:
        """A connection did not become a link. Returns whether that counts as a failure."""
        dialer = self._connector.attempt(link)
        if dialer is not None:
            dialer.set_reason(str(error), error)
        if error.reason in messages.BYE_REASONS:
            return False  # this node's own, when it leaves
        if self.checker.is_trying(dialer):
            return False
        if dialer is not None:
            self._story.dialed_in_vain(shown_target(dialer.target), error)
        else:
            self._story.stranger_failed(link.transport.getPeer().host, error)
        return True

    def linked(self, link: Link) -> None:
        """A node is linked, by its first link."""
        self._redialer.linked(link.node, link.source, self.is_reached(link))
        self.checker.linked(link.node, link.source)

    def revised(self, peer: LinkedNode) -> None:
        """A linked node has another record, or another link, which may come from elsewhere."""
        self._redialer.revised(peer.record, peer.link.source)
        self.checker.linked(peer.record, peer.link.source)

    def parted(self, link: Link, reason: str) -> None:
        """A node is no longer linked."""
        if link.via:
            self.discovered.stop(link.node.id)  # if it is still wanted, it is dialed at once
        self._redialer.parted(link.node.id, reason)
        self.checker.parted(link.node.id)
        self._parts.url.parted(link.node.id)

    def _answered(self, dialer: PeerFactory | None, link: Link) -> None:
        """A dialer was answered. If by another node than the one that it is for, both advertise
        that URL, or one is wrong."""
        record = link.node
        if dialer is None or link.via:
            return
        self.discovered.answered(dialer.target, record)
        if self.discovered.is_for(record.id, dialer):
            return
        node_id = self.discovered.wanted(dialer)
        wanted = self._parts.roster.record_of(node_id) if node_id is not None else None
        if wanted is None or are_incarnations(wanted, record):
            return
        there = "this node" if record.id == self._parts.me.id else record.name
        dialer.set_reason(f"it leads to {there}")
        self._story.misled(wanted, there)

    # --- for the status ---

    @property
    def is_first(self) -> bool:
        """Whether there is nobody to bootstrap from: this is the first node of its mesh."""
        return self._bootstrap.is_empty

    @property
    def leads_back(self) -> tuple[str, ...]:
        """All bootstrap URLs, if every one of them leads to this node; else none."""
        return tuple(f"https://{shown_target(each)}" for each in self._bootstrap.leads_back)

    def renewals(self) -> Iterator[DialStatus]:
        """Sessions that are due to be renewed, which has failed so far."""
        for node_id, dialer in self.discovered:
            if dialer.retries and self._parts.roster.is_linked(node_id):
                peer = self._parts.peers.linked(node_id)
                if not peer.link.via:
                    yield _status(peer.record.name, False, dialer)

    def wanted(self) -> Iterator[DialStatus]:
        """Nodes and groups without a link that are being dialed."""
        for node_id, dialer in self.discovered:
            if not self._parts.roster.is_linked(node_id):
                record = self._parts.roster.record_of(node_id)
                yield _status(record.name if record else node_id, False, dialer)
        for name, dialer in self._bootstrap.dialing():
            yield _status(name, True, dialer)

    def lost(self) -> Iterator[LostNode]:
        return self._redialer.statuses()

    # --- what the parts of it ask ---

    def _own(self) -> Target:
        return self._parts.me.record.host_port

    def _introducers(self, node_id: str) -> set[str]:
        """The sources of the nodes that vouch for this one, and its own if it is linked."""
        roster, peers = self._parts.roster, self._parts.peers
        return peers.sources((node_id, *roster.hearsay.vouchers(node_id)))

    def _busy(self) -> set[Target]:
        """Targets that are dialed for other reasons than that a node is lost."""
        dialers = [dialer for _, dialer in self.discovered]
        dialers += [dialer for _, dialer in self._bootstrap.dialing()]
        return {target for dialer in dialers for target in dialer.targets}

    def _group_dialer(self, group: GroupSettings, order: AddressOrder) -> PeerFactory:
        return self._connector.dialer(
            group.targets,
            DialPolicy(
                rounds=group.retries,
                max_delay=self._parts.settings.bootstrap_retry_interval,
                begin_round=self._before_bootstrap,
                resolver=self._parts.host.bootstrap_resolver,
                order=order,
            ),
        )


def _status(name: str, is_group: bool, dialer: PeerFactory) -> DialStatus:
    target = shown_target(dialer.target)
    return DialStatus(name, is_group, target, dialer.retries, dialer.why, dialer.retry_in)

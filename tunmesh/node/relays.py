"""Links through relays: which nodes are dialed so, through which neighbours, and what this node
carries for others.

    how far direct dials have come, lost links ──> relay.needs ──> due
                                                                    │  the neighbours that vouch
                                                                    ▼  for it, the fastest first
                         Links <── a link <── dialing.connections, over relay.streams

Up to CARRIERS neighbours are asked at once. The first stream that is open becomes the link, and the
others are given up. A neighbour that could not carry is not asked again for a while.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from math import inf

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from tunmesh.dialing.attempt import Progress
from tunmesh.dialing.connections import Connector
from tunmesh.link.link import Link
from tunmesh.logs import bugs
from tunmesh.node.parts import Parts
from tunmesh.relay.needs import Needs
from tunmesh.relay.refusals import Refusals
from tunmesh.relay.streams import NotRelayed, RelayEndpoint, Streams
from tunmesh.status.traffic import CarriedStreams
from tunmesh.timers import Timer
from tunmesh.wire.records import NodeRecord
from tunmesh.wire.streams import Message, Refused

CARRIERS = 3  # neighbours that are asked at once


class _Attempt:
    """To link with one node through its neighbours."""

    def __init__(self) -> None:
        self.under_way: dict[str, Deferred[Protocol]] = {}  # by carrier
        self.carrier = ""  # that has answered
        self.link: Link | None = None  # that is being made, then

    def give_up_others(self) -> None:
        """Those that have not answered."""
        for carrier, done in tuple(self.under_way.items()):
            if carrier != self.carrier:
                done.cancel()


class Relays:
    """Of one node."""

    def __init__(self, parts: Parts, connector: Connector) -> None:
        reactor = parts.host.reactor
        self._parts = parts
        self._connector = connector
        self._needs = Needs(parts.host.draw)
        self._streams = Streams(
            parts.me.id, reactor, self._direct, parts.memory, parts.settings.reloadable.relay
        )
        self._attempts: dict[str, _Attempt] = {}  # by the id of the node
        self._refusals = Refusals()
        self._timer = Timer(reactor)
        self._is_stopped = False

    def accept_with(self, listener: IProtocolFactory) -> None:
        """Streams that lead here become links by this factory of the port."""
        self._streams.accept_with(listener)

    def stop(self) -> None:
        """The node leaves the mesh."""
        self._is_stopped = True
        self._timer.stop()
        self._streams.stop()

    def carry(self, carries: bool) -> None:
        """Whether to carry for others from now on."""
        self._streams.switchboard.carry(carries)

    # --- facts about nodes ---

    def wanted(self, record: NodeRecord) -> None:
        """This node is dialed directly from now on."""
        self._needs.wanted(record.id, self._parts.me.id < record.id, self._parts.now)
        self._look_soon()

    def progressed(self, node_id: str, progress: Progress) -> None:
        """An attempt to dial it directly has come so far."""
        now = self._parts.now
        match progress:
            case Progress.TRYING:
                self._needs.trying(node_id, now)
            case Progress.ANSWERED:
                self._needs.answered(node_id, now)
            case Progress.FAILED:
                self._needs.failed(node_id, now)
        self._look_soon()

    def vouched(self, link: Link, node_ids: Iterable[str]) -> None:
        """The other end of this link says that it is linked with these."""
        if len(self._needs):
            for node_id in node_ids:
                self._needs.vouched(node_id, link.node.id, self._parts.now)
            self._look_soon()

    def forgotten(self, node_id: str) -> None:
        """This node is not wanted any more."""
        self._needs.satisfied(node_id)
        self._refusals.forget(node_id)
        attempt = self._attempts.pop(node_id, None)
        if attempt is not None:
            attempt.give_up_others()
            self._look_soon()  # another one may be dialed instead

    def parted(self, link: Link) -> None:
        """The node at the other end is no longer linked."""
        self._needs.lost(link.node.id)
        self._refusals.parted(link.node.id)
        self._streams.parted(link.node.id)

    # --- facts about links ---

    def received(self, link: Link, message: Message) -> bool:
        """The other end of a link said this of a stream. Whether it was of use."""
        return self._streams.received(link, message)

    def link_up(self, link: Link) -> None:
        """A link came up that is of use."""
        self.forgotten(link.node.id)
        self._led_elsewhere(link)

    def link_failed(self, link: Link) -> None:
        """A connection did not become a link."""
        self._led_elsewhere(link)

    def _led_elsewhere(self, link: Link) -> None:
        """This link, if an attempt has made it, does not lead to the node that was wanted: it has
        failed, is of no use, or its carrier has let another node answer."""
        for node_id, attempt in tuple(self._attempts.items()):
            if attempt.link is link:
                self._refusals.note(attempt.carrier, node_id, Refused.NO_ANSWER, self._parts.now)
                self._in_vain(node_id)

    def link_lost(self, link: Link, is_replaced: bool) -> None:
        """A link has ended, and another one is in use if there is one. What was under way on it has
        arrived if it was replaced."""
        self._led_elsewhere(link)
        if not link.via:
            self._streams.link_lost(link, is_replaced)

    def renew(self, link: Link) -> None:
        """Replace this relayed link by another one."""
        if link.node.id not in self._attempts and not self._is_stopped:
            self._dial(link.node.id)

    # --- dialing ---

    def _look_soon(self) -> None:
        wait = self._needs.wait(self._parts.now)
        if wait is not None and not self._is_stopped:
            self._timer.start(wait, self._look)

    def _look(self) -> None:
        for node_id in self._needs.due(self._parts.now):
            with bugs.logged("a node is not dialed through others"):
                self._dial(node_id)
        self._look_soon()

    def _dial(self, node_id: str) -> None:
        """Ask the best neighbours for a stream to this node."""
        record = self._parts.roster.record_of(node_id)
        carriers = self._carriers(node_id)
        if record is None or not carriers:
            self._in_vain(node_id)
            return
        attempt = self._attempts[node_id] = _Attempt()
        dial = self._connector.through_relay(record.host_port[0])
        factory = dial.secured()
        for carrier in carriers:
            done = RelayEndpoint(self._streams, carrier, node_id).connect(factory)
            attempt.under_way[carrier] = done

        def connected(_protocol: Protocol, carrier: str) -> None:
            attempt.carrier, attempt.link = carrier, dial.link
            attempt.give_up_others()

        for carrier, done in tuple(attempt.under_way.items()):
            done.addCallback(connected, carrier)
            done.addErrback(partial(self._not_connected, node_id, attempt, carrier))

    def _not_connected(
        self, node_id: str, attempt: _Attempt, carrier: str, failure: Failure
    ) -> None:
        attempt.under_way.pop(carrier, None)
        if isinstance(failure.value, NotRelayed):
            self._refusals.note(carrier, node_id, failure.value.reason, self._parts.now)
        if not attempt.under_way and self._attempts.get(node_id) is attempt:
            self._in_vain(node_id)

    def _in_vain(self, node_id: str) -> None:
        self._attempts.pop(node_id, None)
        self._needs.tried(node_id, self._parts.now)
        self._look_soon()

    def _carriers(self, node_id: str) -> list[str]:
        """The neighbours to ask: they have direct links, and say that they are linked with that
        node."""
        now = self._parts.now
        ranked = sorted(
            (link.round_trip if link.round_trip is not None else inf, each)
            for each in self._parts.roster.hearsay.vouchers(node_id)
            if (link := self._direct(each)) is not None
            and self._refusals.may_ask(each, node_id, now)
        )
        return [each for _, each in ranked[:CARRIERS]]

    def _direct(self, node_id: str) -> Link | None:
        """The link in use with this node, if that is direct."""
        try:
            link = self._parts.peers.linked(node_id).link
        except KeyError:
            return None
        return link if not link.via else None

    # --- for the status ---

    @property
    def carried(self) -> CarriedStreams:
        """What this node carries for others."""
        return self._streams.switchboard.counts

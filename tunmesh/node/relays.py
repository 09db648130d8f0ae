"""Links through relays: which nodes are dialed so, through which neighbours, and what this node
carries for others.

    how far direct dials have come, lost links ──> relay.needs ──> due
                                                                    │  slots, in which sources of
                                                                    ▼  those that vouch take turns
                                                   relay.carriers, which neighbours are asked
                                                                    │
                         Links <── a link <── dialing.connections, over relay.streams

Some neighbours are asked at once. The first stream that is open becomes the link, and the others
are given up. A member can vouch for thousands of nodes that do not exist, and carry no stream to
any: so attempts have slots as dials do (dialing.dial_limit).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from tunmesh.dialing.attempt import Progress
from tunmesh.dialing.connections import Connector
from tunmesh.dialing.dial_limit import DialLimit, DialSlot, Granted
from tunmesh.link.link import Link
from tunmesh.logs import bugs
from tunmesh.node.parts import Parts
from tunmesh.relay.carriers import Carriers, Neighbour
from tunmesh.relay.needs import Needs
from tunmesh.relay.refusals import Refusals
from tunmesh.relay.streams import NotRelayed, RelayEndpoint, Streams
from tunmesh.status.traffic import CarriedStreams
from tunmesh.timers import Timer
from tunmesh.wire.records import NodeRecord
from tunmesh.wire.streams import Message, Refused

# Attempts at a time: in all, and for the nodes that neighbours from one source vouch for.
SLOTS, SLOTS_PER_SOURCE = 16, 8
LASTING = 30.0  # seconds after which the end of a link is not held against its carrier
_bug = bugs.caught("a node is not dialed through others")


class _Attempt:
    """To link with one node through its neighbours, while it has this slot."""

    def __init__(self, slot: DialSlot, neighbours: Iterable[Neighbour]) -> None:
        self.under_way: dict[str, Deferred[Protocol]] = {}  # by carrier
        self.carrier = ""  # that has answered
        self.link: Link | None = None  # that is being made, then
        self._slot = slot
        self._neighbours = {each.id: each for each in neighbours}

    def neighbour(self, carrier: str) -> Neighbour:
        """One that was asked."""
        return self._neighbours[carrier]

    def give_up_others(self) -> None:
        """Those that have not answered."""
        for carrier, done in tuple(self.under_way.items()):
            if carrier != self.carrier:
                done.cancel()

    def end(self) -> None:
        """It is over."""
        self.give_up_others()
        self._slot.release()


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
        self._limit = DialLimit(SLOTS, parts.host.draw, _bug, SLOTS_PER_SOURCE)
        self._carriers = Carriers()
        self._refusals = Refusals()
        self._waiting: dict[str, Granted] = {}  # for a slot, by the id of the node
        self._attempts: dict[str, _Attempt] = {}  # under way, likewise
        self._timer = Timer(reactor)
        self._is_stopped = False

    def accept_with(self, listener: IProtocolFactory) -> None:
        """Streams that lead here become links by this factory of the port."""
        self._streams.accept_with(listener)

    def stop(self) -> None:
        """The node leaves the mesh."""
        self._is_stopped = True
        self._timer.stop()
        self._limit.stop()
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
                if node_id in self._waiting:
                    self._limit.add_source(self._waiting[node_id], link.source)
            self._look_soon()

    def forgotten(self, node_id: str) -> None:
        """This node is not wanted any more."""
        self._needs.satisfied(node_id)
        self._refusals.forget(node_id)
        waiting = self._waiting.pop(node_id, None)
        if waiting is not None:
            self._limit.withdraw(waiting)
        attempt = self._attempts.pop(node_id, None)
        if attempt is not None:
            attempt.end()

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
        self.link_failed(link)

    def link_failed(self, link: Link) -> None:
        """A connection did not become a link with the node that was wanted, if an attempt has made
        it: it has failed, is of no use, or its carrier has let another node answer."""
        for node_id, attempt in tuple(self._attempts.items()):
            if attempt.link is link:
                carrier = attempt.neighbour(attempt.carrier)
                self._refused(carrier, node_id, Refused.NO_ANSWER)
                self._in_vain(node_id)

    def link_lost(self, link: Link, is_replaced: bool) -> None:
        """A link has ended, and another one is in use if there is one. What was under way on it has
        arrived if it was replaced."""
        self.link_failed(link)
        if not link.via:
            self._streams.link_lost(link, is_replaced)
        elif not is_replaced and self._parts.now - link.since < LASTING:
            self._carriers.failed(link.origin, link.node.id)

    def renew(self, link: Link) -> None:
        """Replace this relayed link by another one."""
        if not self._is_stopped:
            self._request(link.node.id, False)

    # --- dialing ---

    def _look_soon(self) -> None:
        wait = self._needs.wait(self._parts.now)
        if wait is not None and not self._is_stopped:
            self._timer.start(wait, self._look)

    def _look(self) -> None:
        for node_id, has_failed in self._needs.due(self._parts.now):
            try:
                self._request(node_id, has_failed)
            except Exception as error:  # else nobody would try again
                _bug(error)
                self._in_vain(node_id)
        self._look_soon()

    def _request(self, node_id: str, has_failed: bool) -> None:
        """Ask for a slot for an attempt at this node, unless there is one that has not ended: it
        may renew a link that was lost meanwhile."""
        if node_id in self._attempts or node_id in self._waiting:
            return
        sources = {each.source for each in self._neighbours(node_id)}
        if not sources:
            self._in_vain(node_id)
            return
        granted = self._waiting[node_id] = partial(self._granted, node_id)
        self._limit.request(granted, has_failed, sources)

    def _granted(self, node_id: str, slot: DialSlot) -> None:
        del self._waiting[node_id]
        try:
            self._dial(node_id, slot)
        except Exception as error:  # else nobody would try again
            _bug(error)
            slot.release()
            self._in_vain(node_id)

    def _dial(self, node_id: str, slot: DialSlot) -> None:
        """Ask the best neighbours for a stream to this node."""
        record = self._parts.roster.record_of(node_id)
        neighbours = tuple(self._neighbours(node_id))
        carriers = self._carriers.choose(node_id, neighbours)
        if record is None or not carriers:
            slot.release()
            self._in_vain(node_id)
            return
        dial = self._connector.through_relay(record.host_port[0])
        factory = dial.secured()
        attempt = self._attempts[node_id] = _Attempt(slot, neighbours)
        for carrier in carriers:
            endpoint = RelayEndpoint(self._streams, carrier, node_id)
            attempt.under_way[carrier] = maybeDeferred(endpoint.connect, factory)

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
        why = failure.value
        if isinstance(why, NotRelayed):
            self._refused(attempt.neighbour(carrier), node_id, why.reason)
        elif isinstance(why, Exception) and not isinstance(why, ConnectError | ConnectionClosed):
            _bug(why)
        if not attempt.under_way and self._attempts.get(node_id) is attempt:
            self._in_vain(node_id)

    def _in_vain(self, node_id: str) -> None:
        attempt = self._attempts.pop(node_id, None)
        if attempt is not None:
            attempt.end()
        self._needs.tried(node_id, self._parts.now)
        self._look_soon()

    def _neighbours(self, node_id: str) -> Iterator[Neighbour]:
        """Those that may carry: they have direct links, and say that they are linked with that
        node."""
        now = self._parts.now
        for each in self._parts.roster.hearsay.vouchers(node_id):
            link = self._direct(each)
            if link is not None and self._refusals.may_ask(each, node_id, now):
                yield Neighbour(each, link.source, link.round_trip)

    def _refused(self, carrier: Neighbour, node_id: str, why: Refused) -> None:
        """No link with that node came of asking this one."""
        self._carriers.failed(carrier.source, node_id)
        self._refusals.note(carrier.id, node_id, why, self._parts.now)

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

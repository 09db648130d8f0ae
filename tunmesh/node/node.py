"""A node of the mesh: its life, and what can be asked of it.

    settings, host ──> Parts ──> Links ──> Interpreter, Dials
                         │         │
                         └─> Readiness ──> snapshot ──> Status

Packets pass by in dataplane.forwarder; what to do about other nodes is decided in membership.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from tunmesh.addresses import Address
from tunmesh.dataplane.answers import Answers
from tunmesh.dataplane.forwarder import Tap
from tunmesh.host import heap
from tunmesh.link.link import Link
from tunmesh.logs import bugs
from tunmesh.logs.journal import Journal
from tunmesh.names.resolution import Resolution
from tunmesh.node import snapshot
from tunmesh.node.links import Links
from tunmesh.node.own.addresses import OwnAddresses
from tunmesh.node.own.device import OwnDevice
from tunmesh.node.own.floating import OwnFloating
from tunmesh.node.own.names import Names
from tunmesh.node.own.routes import OwnRoutes
from tunmesh.node.parts import Parts
from tunmesh.node.readiness import Readiness
from tunmesh.node.settings import Host, Place, Reloadable, Settings
from tunmesh.node.stories.node import NodeStory
from tunmesh.observe.explain import Explainer
from tunmesh.status.health import Health
from tunmesh.status.node import AutomaticAddress, Status
from tunmesh.status.peers import KnownNode
from tunmesh.status.traffic import Dropped, Sample
from tunmesh.tls.listener import MeshPort, listening_factory
from tunmesh.tls.transport import https_factory
from tunmesh.wire.records import NodeRecord

TRIM = 4 << 20  # bytes freed since the last look at which the heap is given back to the kernel


class Node:
    """One member of the mesh.

    `make_site(node)` makes what answers HTTPS on the node's port; `failed(why)` is called when the
    node is of no more use, because its tun is gone; `before_bootstrap()` is called before
    bootstrap URLs are dialed, and may call `reload`.
    """

    def __init__(
        self,
        settings: Settings,
        host: Host,
        journal: Journal,
        make_site: Callable[[Node], IProtocolFactory],
        failed: Callable[[str], None],
        before_bootstrap: Callable[[], None] = lambda: None,
    ) -> None:
        self._parts = parts = Parts.make(settings, host, journal)
        self._failed = failed
        self._story = NodeStory(journal)
        self._links = Links(parts, before_bootstrap, self._changed)
        self._addresses = OwnAddresses(
            parts, self._links.dials, self._changed, self._links.readdressed, failed
        )
        self._device = OwnDevice(parts, self._addresses, self._changed)
        self._routes = OwnRoutes(parts)
        self._readiness = Readiness(parts, self._links.dials, self._addresses, self._story)
        self._floating = OwnFloating(parts, self._readiness.has_joined)
        self._names = Names(parts, self._addresses, self._readiness.has_joined)
        parts.multicast.connect(parts.forwarder)
        self._answers = Answers(parts.table, parts.forwarder.answer, host.reactor.seconds)
        parts.forwarder.answer_unrouted(self._answers.take)
        parts.forwarder.screen_by(self._answers.screen)
        self._mesh_port = MeshPort(
            host.reactor,
            self._links.connector.accept,
            make_site(self).buildProtocol,
            self._links.stranger_failed,
            host.cpu,
        )
        self._port: IListeningPort | None = None
        self._left: Deferred[None] | None = None

    # --- life ---

    def listen(self, place: Place) -> None:
        """Accept connections at this place from now on."""
        host, contexts = self._parts.host, self._parts.contexts
        factory = listening_factory(contexts, self._mesh_port, host.reactor, host.transport)
        self._port = place.listen(host.reactor, factory)
        self._mesh_port.opened(self._port, str(place.address or ""))
        self._links.relays.accept_with(factory)
        self._readiness.listening(place.port)
        self._story.listening(place, host.datagrams is not None)

    def over_tls(self, site: IProtocolFactory) -> IProtocolFactory:
        """A web site for a port of its own, with this node's certificate, also a renewed one."""
        return https_factory(self._parts.contexts, site, self._parts.host.reactor)

    def start(self) -> None:
        """Begin to carry packets and to look for peers."""
        host = self._parts.host
        host.tun.start(self._parts.forwarder.sent, self._tun_lost)
        host.watch.start(self._device_changed)
        self._names.start()
        self._parts.multicast.start()
        self._parts.transports.start()
        self._links.noticing.start()
        host.address_watch.start(self._host_addresses_changed)
        self._groom()

    def reload(self, new: Reloadable) -> None:
        """Use these settings from now on. Links stay up; only new ones use new keys and TLS."""
        if self._left is not None:
            return
        if new.credentials != self._parts.contexts.credentials:
            self._parts.contexts.renew(new.credentials)
        self._links.connector.use_keys(new.keys)
        self._links.dials.use_groups(new.groups)
        self._links.dials.update()
        self._links.relays.carry(new.relay)
        self._readiness.expect(new.expected_nodes)
        self._parts.me.use_groups(new.node_groups)
        self._routes.advertise(new.advertise)
        self._device.use(new.device)

    def stop(self) -> Deferred[None]:
        """Leave the mesh: say bye to every peer, then close everything. Fires when that is done."""
        if self._left is None:
            self._left = Deferred.fromCoroutine(self._leave())
        return self._left

    async def _leave(self) -> None:
        self._story.leaving()
        self._readiness.leaving()
        self._parts.host.watch.stop()
        self._parts.host.address_watch.stop()
        self._parts.timers.stop()
        self._names.stop()
        self._parts.multicast.stop()
        closed = maybeDeferred(self._port.stopListening) if self._port is not None else None
        await self._links.leave()
        if closed is not None:
            await closed
        self._parts.host.tun.stop()

    def _tun_lost(self, why: str) -> None:
        self._story.tun_lost(why)
        self._readiness.tun_lost(why)
        self._failed(why)

    def _changed(self) -> None:
        self._addresses.update()
        self._floating.update()
        self._routes.update()
        self._readiness.update()
        if self._readiness.has_joined():
            self._answers.joined()

    def _device_changed(self) -> None:
        self._story.device_changed(self._parts.host.tun.name, self._parts.host.watch.found.all)
        self._readiness.update()
        self._device.update()

    def _host_addresses_changed(self, came: Collection[Address], gone: Collection[Address]) -> None:
        self._links.noticing.addresses_changed(came, gone)
        self._parts.url.update()

    def _groom(self) -> None:
        """What is to be done every groom_interval. An error in one task must not keep the node
        from the others for ever."""
        parts, links = self._parts, self._links
        parts.timers.call_within("groom", parts.settings.groom_interval, self._groom)
        for task, what_failed in (
            (links.renew_sessions, "sessions are not renewed"),
            (parts.peers.groom, "totals of nodes that are gone are not forgotten"),
            (links.summarize, "the summary for debugging is not logged"),
            (links.ask_again, "nodes are not asked again for records"),
            (self._trim_heap, "memory is not given back to the kernel"),
            (links.dials.update, "bootstrap groups and lost nodes are not dialed"),
            (links.dials.checker.update, "URLs of other nodes are not tried"),
            (parts.url.update, "this node's own URL is not looked after"),
            (self._changed, "readiness is not updated"),
        ):
            with bugs.logged(what_failed):
                task()

    def _trim_heap(self) -> None:
        if self._parts.memory.has_fallen(TRIM) or not self._parts.memory.is_ample:
            heap.trim()

    # --- questions ---

    @property
    def record(self) -> NodeRecord:
        """What this node says of itself."""
        return self._parts.me.record

    @property
    def links(self) -> tuple[Link, ...]:
        """Every link there is, also those that are not up yet."""
        return tuple(self._links.connector)

    def health(self) -> Health:
        """Whether this node is live and ready, and why. Costs little."""
        return self._readiness.health()

    @property
    def automatic(self) -> tuple[AutomaticAddress, ...]:
        """How far it has come with each address that it chooses itself. Costs little."""
        return self._addresses.statuses

    def sample(self) -> Sample:
        """The counters whose recent past is shown. Costs little."""
        return snapshot.sample(self._parts, self._links)

    def status(self) -> Status:
        """Everything there is to know about this node now."""
        return snapshot.status(
            self._parts,
            self._links,
            self._readiness,
            self._names,
            self._addresses,
            self._answers,
            self._device,
            self._floating,
            self._routes,
        )

    def known_nodes(self, crowd: float = math.inf) -> tuple[KnownNode, ...]:
        """Every other node that this one knows of. If there are more than `crowd`, links between
        others are left out."""
        return snapshot.known_nodes(self._parts.roster, self._parts.me.id, crowd)

    def explainer(self) -> Explainer:
        """Explains the way of a packet as things are now."""
        return Explainer(
            self.status(),
            self.known_nodes(crowd=0),
            self._parts.table,
            self._parts.settings.networks,
            self._parts.host.watch,
        )

    @property
    def floating(self) -> OwnFloating:
        """The floating addresses, to be claimed and released."""
        return self._floating

    def resolve(self, name: str) -> Resolution:
        """What a name, or an address, leads to, and why."""
        return self._names.resolve(name, self.known_nodes(crowd=0))

    @property
    def taps(self) -> set[Tap]:
        """They are given all packets that are carried; to be added to and removed from."""
        return self._parts.forwarder.taps

    @property
    def drops(self) -> Sequence[Dropped]:
        """The packets that were dropped last, the latest at the end."""
        return self._parts.forwarder.recent

    def ping(self, node_id: str) -> Deferred[float | None]:
        """The round trip on the link with this node, in seconds; None when there is no answer
        within `probe_timeout`. Raises KeyError when it is not linked."""
        link = self._parts.peers.linked(node_id).link
        answer: Deferred[float | None] = Deferred()
        link.probe(lambda alive: answer.callback(link.keepalive.rtt if alive else None))
        return answer

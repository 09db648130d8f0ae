"""What most parts of a node need: made once, and shared by them."""

from __future__ import annotations

from dataclasses import dataclass

from tunmesh.dataplane.forwarder import Forwarder
from tunmesh.dataplane.table import Table
from tunmesh.dialing.own_url import OwnUrl
from tunmesh.link.link import Link
from tunmesh.link.memory_budget import MemoryBudget
from tunmesh.logs.journal import Journal
from tunmesh.membership.me import Me
from tunmesh.membership.roster import Roster
from tunmesh.node.multicast import Multicast
from tunmesh.node.own.url import AdvertisedUrl
from tunmesh.node.peers import LinkedNode, Peers
from tunmesh.node.settings import Host, Settings
from tunmesh.node.transports import Transports
from tunmesh.timers import Timers
from tunmesh.tls.credentials import Contexts


@dataclass(frozen=True, slots=True)
class Parts:
    """Its own state is in the parts; nothing here is ever replaced."""

    settings: Settings
    host: Host
    journal: Journal
    me: Me
    roster: Roster[Link]
    table: Table[LinkedNode]
    forwarder: Forwarder[LinkedNode]
    peers: Peers
    transports: Transports
    multicast: Multicast
    memory: MemoryBudget
    contexts: Contexts
    timers: Timers
    url: AdvertisedUrl

    @classmethod
    def make(cls, settings: Settings, host: Host, journal: Journal) -> Parts:
        seconds = host.reactor.seconds
        record, networks = settings.record, settings.networks
        me = Me(record)
        multicast = Multicast(settings.multicast, host, journal)
        table: Table[LinkedNode] = Table(
            record.addresses,
            networks,
            settings.enable_broadcast,
            seconds,
            settings.accept_routes,
            multicast.audience,
        )
        table.gateways.advertise(record.routes)
        memory = MemoryBudget(settings.memory_budget)
        most = settings.max_nodes_per_source
        peers = Peers(me, table, settings.metric_ttl, seconds, memory, most)
        forwarder = Forwarder(host.tun, table, seconds)
        own: OwnUrl | None = None
        if settings.auto_port is not None:
            own = OwnUrl(settings.auto_port, record.host_port[0])
        return cls(
            settings,
            host,
            journal,
            me,
            Roster(me, networks, settings.reserved),
            table,
            forwarder,
            peers,
            Transports(settings, host, journal, me, forwarder),
            multicast,
            memory,
            Contexts(settings.reloadable.credentials),
            Timers(host.reactor),
            AdvertisedUrl(me, own, host.find_address, peers, journal, seconds),
        )

    @property
    def now(self) -> float:
        """Seconds of the node's clock, which only goes forward."""
        return float(self.host.reactor.seconds())

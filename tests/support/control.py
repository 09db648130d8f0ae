"""A node that consists of a control socket, and commands that are run for it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet import reactor as trial_reactor
from twisted.internet import unix
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThread
from twisted.logger import Logger, LogPublisher
from twisted.trial import unittest

from tests.observe.test_explain import NETWORKS, table_of
from tests.observe.test_metrics import a_status
from tests.support.places import short_directory
from tunmesh.addresses import Address
from tunmesh.api import control, read_only
from tunmesh.cli.main import main
from tunmesh.host import unix_port
from tunmesh.logs.observers import RecentEvents
from tunmesh.names.directory import Directory, Member
from tunmesh.names.resolution import Resolution, Resolver
from tunmesh.names.settings import NamesSettings
from tunmesh.names.zone import Zone
from tunmesh.observe.explain import Explainer
from tunmesh.observe.samples import History
from tunmesh.status.health import Health
from tunmesh.status.node import AutomaticAddress, FloatingAddress, Status
from tunmesh.status.peers import KnownNode
from tunmesh.status.traffic import Dropped
from tunmesh.wire.records import NodeRecord

reactor: Any = trial_reactor
EPOCH = 1_795_644_500.0


HELD = AutomaticAddress(
    version=4,
    state="held",
    address="10.77.1.1/24",
    number=2,
    since=40.0,
    network="10.77.0.0/16",
    hosts=65024,
    taken=2,
    is_on_device=True,
    passed_over=(("10.77.8.9", "bravo"), ("10.77.3.4", "")),
)
CLAIMED = replace(
    HELD,
    version=6,
    state="claiming",
    address="fd77::1/64",
    number=0,
    network="fd77::/64",
    passed_over=(),
)


class FakeNode:
    """A control socket for a status that tests may change, and a log."""

    def __init__(self, case: unittest.TestCase) -> None:
        self.now: Status = replace(a_status(), automatic=())
        self.history = History()
        self.recent = RecentEvents()
        self.log = Logger(namespace="tunmesh", observer=LogPublisher(self.recent))
        self.drained = 0
        self.is_whole = True  # all links are told
        self.directory = short_directory(case)
        self.path = self.directory / "run" / "control.sock"
        self.taps: set[Any] = set()
        self.drops: list[Dropped] = []
        self.rtt: float | None = 0.0004
        self.claimable = {"10.77.0.100", "fd77::100"}
        self.holder = ""  # who has what is claimed; "": this node
        self.reports = read_only.Reports(
            self.status, self.known_nodes, self.recent, self.history, lambda: EPOCH
        )
        site = control.site(self, self.drain, self.reports, reactor)
        self.port: IListeningPort = unix_port.listen(reactor, self.path, site)
        case.addCleanup(self.close)

    def hang_up(self) -> None:
        """Close every connection."""
        for reader in reactor.getReaders():
            if isinstance(reader, unix.Server):
                reader.abortConnection()

    def drain(self) -> None:
        self.drained += 1

    def status(self) -> Status:
        return self.now

    def health(self) -> Health:
        return self.now.health

    def explainer(self) -> Explainer:
        return Explainer(self.now, self.known_nodes(0), table_of(self.now), NETWORKS)

    def resolve(self, name: str) -> Resolution:
        """What this node's status leads to, below the domain `mesh`."""
        members = [
            Member(record, tuple(each.ip for each in record.addresses)) for record in self.records()
        ]
        settings = NamesSettings("mesh", (NETWORKS[0][-2],), ("192.0.2.53",))
        zone = Zone(settings.domain, NETWORKS, settings.addresses)
        directory = Directory(members, True)
        resolver = Resolver(settings, zone, directory, self.now.record, self.known_nodes(0))
        return resolver.resolve(name)

    def ping(self, node_id: str) -> Deferred[float | None]:
        if node_id not in [peer.record.id for peer in self.now.peers]:
            raise KeyError(node_id)
        return succeed(self.rtt)

    @property
    def floating(self) -> FakeNode:
        return self

    def claim(self, address: Address) -> FloatingAddress:
        """As a node that holds what is claimed, unless another one does."""
        if str(address) not in self.claimable:
            raise ValueError(f"{address} may not be claimed here: networking/floating is empty")
        held = FloatingAddress(str(address), "waiting", 40.0, 1, self.holder, False)
        if not self.holder:
            held = replace(held, state="held", holder=self.now.record.name, is_on_device=True)
        before = [each for each in self.now.floating if each.address != str(address)]
        self.now = replace(self.now, floating=(*before, held))
        return held

    def release(self, address: Address) -> bool:
        left = tuple(each for each in self.now.floating if each.address != str(address))
        was_claimed = left != self.now.floating
        self.now = replace(self.now, floating=left)
        return was_claimed

    def known_nodes(self, crowd: float) -> tuple[KnownNode, ...]:
        """Two linked nodes, which are linked with each other, and one that is not known yet."""
        me, bravo, charlie = (record.id for record in self.records())
        known_nodes = (
            KnownNode(bravo, self.records()[1], (me, charlie)),
            KnownNode(charlie, self.records()[2], (me, bravo)),
            KnownNode("9" * 32, None, (bravo,)),
        )
        return tuple(replace(node, is_whole=self.is_whole) for node in known_nodes)

    def records(self) -> list[NodeRecord]:
        return [self.now.record, *(peer.record for peer in self.now.peers)]

    async def close(self) -> None:
        closed: Any = self.port.stopListening()
        await closed


def command(path: Path, *arguments: str) -> Deferred[Result]:
    """Run `tunmesh` in a thread, for the node with this control socket."""
    name, *rest = arguments
    return deferToThread(
        CliRunner().invoke, main, [name, "--socket", str(path), *rest], env={"COLUMNS": "80"}
    )


def pcapng_blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each block; both of its lengths must be right."""
    while data:
        kind, length = struct.unpack_from("<II", data)
        assert data[length - 4 : length] == struct.pack("<I", length)
        assert length % 4 == 0
        yield kind, data[8 : length - 4]
        data = data[length:]
